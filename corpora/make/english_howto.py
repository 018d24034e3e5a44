"""How-to texts: ordered steps for everyday and laboratory tasks, told in several styles."""

from __future__ import annotations

from corpora.make.english_explain import read_topics
from corpora.make.english_grammar import Scene, items, tidy

# Under each title: what is needed, the steps in order, and last a tip.
TASKS = """
# bake a simple loaf
- {n:400-600} grams of flour, {n:7-10} grams of yeast, a spoon of salt and a cup of warm water
- stir the yeast into the warm water and [wait|leave it] until it foams
- mix it with the flour and the salt in a [large|wide] bowl
- knead the dough on a [board|table] for {w:8-12} minutes, until it is [smooth|silky]
- cover it with a [damp|clean] cloth and let it rise [for an hour|until it is twice the size]
- shape a loaf, lay it in a [greased|floured] tin and let it rest for {w:15-25} minutes
- bake it in a hot oven for {w:35-45} minutes
- if the loaf sounds hollow when you [tap|knock on] it, it is done
# cook rice
- a cup of rice, {w:2-2} cups of water and a pot with a [tight|heavy] lid
- wash the rice in cold water until the water [runs clear|is no longer white]
- put the rice, the water and a [pinch|little] of salt into the pot
- bring it to the boil [without the lid|over a strong flame]
- turn the heat down, cover the pot and wait {w:12-15} minutes
- take it off the stove and [leave|rest] it for five minutes more
- do not lift the lid [too early|to look], or the steam will escape
# make bean soup
- {n:250-400} grams of dried beans, an onion, {w:2-4} carrots and [a bay leaf|some thyme]
- soak the beans [overnight|for {w:8-12} hours] in plenty of cold water
- pour away that water and boil the beans in fresh water for [at least ten|fifteen] minutes
- fry the chopped onion [gently|in oil] until it is [soft|golden]
- add the onion and the [sliced|diced] carrots to the beans
- let the soup simmer for {w:50-80} minutes
- salt it [at the end|last], for salt keeps the skins hard
# brew good tea
- fresh water, a pot, and {w:2-4} spoons of leaves
- fill the kettle with fresh water, [not|never] with water that has boiled before
- warm the pot with a little hot water and [pour|tip] it out
- put in the leaves, one spoon for each cup and [perhaps|maybe] one for the pot
- pour the [boiling|bubbling] water over the leaves
- wait {w:3-5} minutes and stir [once|gently]
- green tea wants cooler water, about {n:70-80} degrees
# make plum jam
- {w:2-4} kilos of ripe plums, half as much sugar and {w:6-12} clean jars
- cut the plums in half and [take|pull] out the stones
- cook the fruit [slowly|on a low flame] until it falls apart
- stir in the sugar and boil it [hard|strongly] for {w:10-15} minutes
- put a drop on a cold [plate|saucer]; if it sets, the jam is [ready|done]
- fill the hot jars to the top and [close|seal] them at once
- stand the jars on a [cloth|board], because cold stone may crack them
# plant a tree
- a young tree, a spade, a stake, a [soft|wide] tie and {w:2-4} buckets of water
- dig a hole twice as wide as the roots and [just as|no more than as] deep
- loosen the [bottom|sides] of the hole with a fork
- drive in the stake on the side the wind comes from
- set the tree so that it stands as deep as it [did before|stood in the nursery]
- fill in the soil and [firm|press] it with your foot
- tie it [loosely|with a figure eight] to the stake and water it well
- water it every [week|few days] in the first summer
# sow carrots
- a packet of seed, a rake, a string and some dry sand
- rake the bed until the soil is [fine|crumbly] and free of stones
- stretch the string and draw a [groove|line] about {w:1-2} centimetres deep
- mix the seed with the dry sand so that it [spreads|falls] thinly
- sow it along the groove and cover it [lightly|with fine soil]
- keep the bed [damp|moist] for {w:2-3} weeks
- pull out the weakest plants until they stand {w:3-5} centimetres apart
- sow a few radishes in the same row, for they come up [first|early] and show the line
# start a compost heap
- a shady corner, {w:3-5} boards, kitchen scraps and [straw|dry leaves]
- choose a [shady|level] place on bare soil
- lay a bed of [thin branches|twigs] so that air can get in
- spread green scraps and brown stuff in [thin|even] layers
- sprinkle a [spade|shovel] of garden soil over every second layer
- keep it as damp as a [wrung-out|squeezed] sponge
- turn it with a fork every {w:3-6} weeks
- a heap that smells sour needs more [straw|air]
# test your soil with a jar
- a tall jar with a lid, a cup of soil, water and a [pinch|drop] of soap
- fill one third of the jar with dry soil, without [stones|roots]
- add water and soap until it is [nearly|almost] full
- shake it [hard|strongly] for {w:3-5} minutes
- set it on a shelf and do not [move|touch] it for {w:1-3} days
- measure each layer with a [ruler|tape]: sand lies lowest, then silt, then clay
- divide each layer by the whole to get its [share|part]
# measure rain
- a straight glass or tin, a ruler and a [post|pole]
- choose an open place, far from [trees|walls]
- fix the tin to the post {w:1-1} metre above the [ground|grass]
- read the depth [every day|each morning] at the same hour
- write the date and the number in a [book|table]
- empty the tin [after|only after] you have written it down
- if snow has fallen, melt it first and [then|only then] measure
# read a thermometer well
- a thermometer, a shady place, a pencil and a [notebook|card]
- hang it in the shade, about {w:2-2} metres above the [ground|grass]
- wait until the column [stands still|has stopped moving]
- bring your eye level with the [top|end] of the column
- read the tenths first and the whole degrees [after that|next]
- write it down with the hour and the [unit|place]
- do not breathe on it or hold it [near your body|by the bulb]
# weigh a powder
- a balance, a dry dish, a spoon and a [soft|small] brush
- check that the bubble of the [level|balance] is in the middle
- place the empty dish on the pan and [press|set it to] zero
- add powder with the spoon, a [little|pinch] at a time
- close the [glass|little] door and wait until the number stands still
- write the number down [at once|before you do anything else]
- brush the pan [clean|free of dust] for the next person
- never put what you took out [back into the jar|back], for it may be dirty
# filter muddy water
- a funnel, round paper, {w:2-2} beakers and a glass [rod|stick]
- let the muddy water stand for {w:10-30} minutes
- fold the paper twice and open it to a [cone|cup]
- put it in the funnel and [wet|moisten] it with clean water
- pour the water down the rod, [slowly|little by little]
- stop when it is one finger below the [edge|rim] of the paper
- change the paper when it runs too [slowly|badly]
- clear water is not always safe, so boil it before [you drink|drinking]
# grow a salt crystal
- a cup of hot water, plenty of salt, a thread, a [pencil|stick] and a jar
- stir salt into the hot water until some [stays|remains] at the bottom
- pour the clear part into a [clean|warm] jar
- tie the thread to the pencil and [hang|let] it down into the jar
- cover it with [paper|a cloth] and put it where nobody will [knock|shake] it
- look at it every day, but [do not touch|leave] it
- after {w:5-10} days take it out and dry it on a [towel|cloth]
- dust gives many small crystals, so use [clean|filtered] liquid
# make a simple compass
- a needle, a magnet, a slice of cork and a [bowl|plate] of water
- stroke the needle with the magnet {w:30-50} times, always in [one|the same] direction
- lift the magnet [high|away] at the end of each stroke
- push the needle [carefully|gently] through the cork
- float it in the [middle|centre] of the bowl
- wait until it [comes to rest|stops turning], and mark north
- keep [iron|scissors] and knives away from the bowl
# build a sundial
- a straight stick, a flat board, {w:8-12} stones and a watch
- find a place that has sun [all day|from morning to evening]
- push the stick into the ground so that it [leans|points] to the north
- look at the shadow every hour and lay a [stone|pebble] at its tip
- write the hour on each stone with [chalk|paint]
- check it [again|once more] after a week and [correct|shift] it
- in summer time the hours are off by [one|a full hour]
# clean a kettle
- a cup of vinegar, a cup of water and a [soft|small] brush
- pour the vinegar and the water into the cold [kettle|pot]
- warm it up, but [do not|never] let it boil over
- switch it off and wait {w:20-40} minutes
- pour it away and wipe out what is [left|loose]
- rinse it {w:2-3} times and boil [fresh|clear] water in it once
- open the window, for hot vinegar [stings|smells strong]
# wash laboratory glass
- warm water, a little soap, a long brush and [pure|clean] water
- empty every flask into the right [can|bottle], not into the sink
- rinse off the worst with [warm|running] water
- brush it inside and out, and the [neck|rim] most of all
- rinse it {w:3-4} times with tap water
- rinse it [last|once more] with pure water
- let it dry upside down on [pegs|a rack]
- glass is clean when water runs off in a [film|sheet] and not in drops
# mend a flat tyre
- {w:2-3} tyre levers, glue, a patch, sandpaper and a [bowl|bucket] of water
- take off the wheel and [lift|pry] the tyre over the rim with the levers
- pull out the tube and pump in [a little|some] air
- hold it under water and look for [bubbles|the leak]
- dry it, roughen the spot and spread the [glue|cement] thinly
- wait {w:4-6} minutes and press the patch on [hard|firmly]
- feel inside the tyre for [thorns|glass] before you put it back
- pump it up [slowly|in two goes] and see that it sits evenly
# sharpen a kitchen knife
- a stone with a coarse and a fine side, [water|oil] and a cloth
- lay the wet stone on the cloth so that it [cannot slip|stays put]
- hold the blade at a [flat|low] angle, about {n:15-20} degrees
- push it over the stone as if to cut a thin [slice|layer] from it
- do {w:10-20} strokes on one side and as many on the [other|second]
- turn the stone and repeat on the [fine|smooth] side
- wash the knife and [try|test] it on paper
- a sharp knife is safer, because it does not [slip|need force]
# sew on a button
- a needle, {w:50-60} centimetres of thread, a button and a match
- thread the needle, double the thread and [make|tie] a knot
- push the needle up from [below|the back] where the old one was
- lay the match on the button and sew over it {w:4-6} times
- pull out the match and wind the thread [round|about] the neck {w:3-4} times
- push the needle to the back and [fasten|tie] it off
- thread waxed with a [candle|bit of beeswax] lasts longer
# hang a shelf
- a board, {w:2-3} brackets, screws, a drill and a [level|spirit level]
- find out where [pipes|cables] run and keep away from them
- hold up the level and draw a [thin|light] line
- mark the holes and [drill|bore] them {w:4-6} centimetres deep
- tap in the plugs until they are [flush|even] with the wall
- screw on the brackets, but not [tight|quite tight] yet
- lay the board on them, check the [bubble|level] and tighten all screws
- put the heavy [books|jars] above the brackets
# paint a window frame
- sandpaper, tape, a [flat|narrow] brush and {w:1-2} tins of paint
- wash off the [dirt|grease] and let the wood dry
- sand it until it feels [smooth|dull], and wipe away the dust
- stick tape on the [glass|panes]
- brush on a thin coat [along|with] the grain
- let it dry for {w:8-24} hours, sand [lightly|gently] and paint again
- pull off the tape while the paint is still [soft|a bit wet]
- leave the window open, or it will [stick|dry shut]
# write a clear letter
- paper, a pen, and {w:5-15} quiet minutes
- note in {w:3-6} words what you [want|have to say]
- put the date and your [address|name] at the top
- greet the reader by [name|the right title]
- say the most important thing in the [first|opening] sentence
- give one [reason|fact] in each paragraph
- end with what should happen [next|now] and sign it
- read it aloud, and [cross out|drop] every word you do not miss
# pack for a walk
- a bag with {w:2-2} straps, water, food, a map and [a warm layer|a raincoat]
- look at the [weather report|sky] and at the map
- lay everything on the [bed|floor] and take away one third
- put soft things [against|next to] your back and heavy ones in the middle
- keep the map and the [water|knife] where you can reach them
- tell [someone|a neighbour] where you are going and when you will be back
- carry {w:1-2} litres of water for each [person|walker]
# cross a river on foot
- a strong stick, [dry|spare] socks and a good look at the water
- look for a place where the river is wide, for there it is [shallow|slower]
- loosen the straps of your [bag|pack]
- keep your shoes on and [take|pull] off your socks
- face [upstream|against the current] and plant the stick
- move one foot [at a time|only when the other is firm]
- if the water comes above your [knees|thighs], turn back
# read a map outdoors
- a map, a compass and {w:2-3} landmarks
- lay the compass on the map and turn [both|the two together] until north agrees
- look for [large|clear] things, such as a hill, a church or a bend in the river
- find the same things on the [map|sheet]
- draw a line [from|through] each; you stand where they cross
- choose the next goal and count the [paces|minutes] to it
- check again at every [fork|bridge], not only when you are lost
# keep hens
- a dry house, a [run|yard] with a fence, grain, shells and {w:3-6} young hens
- put the house where it gets the [morning|early] sun
- nail a perch {w:50-70} centimetres above the floor
- fill the [nests|boxes] with straw
- give fresh water [every day|each morning] and grain in the evening
- collect the eggs before [noon|they get dirty]
- shut the door [at dusk|every night], because of the fox
- crushed shells in the food make the eggs [strong|hard]
# make a kite
- {w:2-2} thin sticks, light paper, glue and {n:30-60} metres of string
- tie the sticks to a [cross|plus], with the short one a third of the way down
- run a string round the four [ends|tips]
- lay it on the paper, cut round it and [fold|glue] the edge over
- fix the [flying line|bridle] where the sticks cross
- add a tail {w:3-5} times as long as the [kite|frame]
- hold it up in a [steady|light] wind and let out the line slowly
- if it spins, the tail is too [short|light]
# preserve lemons
- {w:6-10} lemons, coarse salt and a [wide|clean] jar
- scrub the lemons in [hot|warm] water and dry them
- cut each one crosswise, but not [all the way|right through]
- rub salt into the [cuts|insides]
- press them into the jar until the juice [covers|rises above] them
- close the jar and keep it [cool|in the dark] for {w:3-5} weeks
- use the peel, finely cut, in [rice|stews|fish dishes]
# calm a smoking stove
- dry wood, a [poker|hook], a mirror and {w:10-20} minutes
- open a window [a crack|for a moment] to let in air
- check that the damper is [fully|wide] open
- hold the mirror under the flue to see if there is [light|a nest]
- burn a sheet of [newspaper|paper] to warm the chimney
- lay small dry wood [first|on top] and add larger pieces later
- wood should dry for {w:2-2} summers before it is [burned|used]
# tie up a boat
- a sound rope and a post or [ring|cleat]
- come in [slowly|gently], against the wind
- throw the rope round the post from [behind|the far side]
- lead it back on board and take {w:2-3} turns
- finish with a [hitch|knot] that you can undo with one hand
- leave [slack|some length] for the tide
- hang an old [tyre|cushion] between the boat and the wall
# count birds at a pond
- a notebook, [field glasses|good eyes] and {w:20-40} quiet minutes
- come [early|at first light] and sit down with the sun behind you
- divide the pond into {w:3-4} parts
- count one part [at a time|after another], from left to right
- count large flocks in [tens|groups] and not one by one
- write down the weather and the [hour|wind]
- come back at the same [time|hour] every week, or you cannot compare
# store apples
- sound apples, [flat boxes|trays], straw and a cool cellar
- pick them on a dry day, with a [gentle|small] twist
- sort out every one with a [bruise|worm hole]
- lay them side by side on [straw|paper], not touching
- keep the cellar between {w:3-4} and {w:6-8} degrees
- look through them every [week|ten days] and take out bad ones
- do not store [potatoes|cabbage] in the same room
# check a balance
- a set of weights, tweezers, a level and a [record book|card]
- let the balance warm up for {w:20-40} minutes
- set the bubble in the [middle|centre] with the two feet
- press zero and [wait|see that it stays]
- put on the test weight with the [tweezers|forceps]
- read it {w:3-5} times and take the mean
- write the error in the [book|log] with date and name
- if the error is too large, put up a [sign|note] and do not use it
# take a soil sample
- a clean spade, a bucket, a bag and a [waterproof|soft] pencil
- walk over the field in a [zigzag|large W]
- stop at {w:10-15} places and scrape away the [grass|straw]
- dig {n:15-20} centimetres deep and cut a thin [slice|strip]
- collect all slices in the bucket and [mix|blend] them
- fill the bag with {w:2-3} cups of it and [label|mark] it
- keep away from [gates|paths|old dung heaps], for they are not typical
"""
HOWTO = read_topics(TASKS)

OPENINGS = items(
    """
- How to {task}. You need {need}.
- This is how {a} the {a.job} taught me to {task}. Have ready {need}.
- To {task}, you need {need}.
- {a} asked {b} how to {task}. "First get {need}," said {b}.
- Notes for {c}: how to {task}. What you need: {need}.
- Anyone can learn to {task}. All it takes is {need}.
- From the {colour} book of {a}: how to {task}. Get {need}.
"""
)
CLOSINGS = items(
    """
- A tip from {b}: {tip}.
- Remember: {tip}.
- {b}, who has done it {w:20-90} times, adds: {tip}.
- One more thing: {tip}.
- And note: {tip}. As {b} says, {saying}.
- The first time {a} tried it, it went wrong, so keep in mind: {tip}.
- In {town} they say: {tip}.
"""
)
LINKS = (
    ("First,", "Then", "Next,", "After that,", "Now", "Then", "Finally,"),
    ("To begin,", "When that is done,", "Then", "Next,", "After this,", "Now", "At the end,"),
    ("Start like this:", "Then", "Now", "Next,", "Then", "After that,", "Last of all,"),
    ("Before anything else,", "Then", "After that,", "Now", "Next,", "Then", "At last,"),
)


def howto_text(scene: Scene) -> str:
    """One task, either as a numbered list or as running text."""
    world, titles = scene.world, list(HOWTO)
    title = titles[world.draw("howto", len(titles))]
    need, *steps, tip = (scene.expand(item) for item in HOWTO[title])
    scene.preset.update(task=title, need=need, tip=tip)
    opening = scene.expand(OPENINGS[world.draw("howto-open", len(OPENINGS))])
    closing = scene.expand(CLOSINGS[world.draw("howto-close", len(CLOSINGS))])
    if world.draw("howto-list", 5) < 2:
        body = "\n".join(f"{i}. {step}." for i, step in enumerate(steps, 1))
        return tidy(f"{opening}\n{body}\n{closing}")
    links = LINKS[world.draw("howto-links", len(LINKS))]
    told = []
    for index, step in enumerate(steps):
        last = index == len(steps) - 1
        # A link before every step sounds like a machine; two in three are enough.
        keep = index == 0 or last or world.rng.random() < 0.65
        link = links[-1] if last else links[index]
        # "Then if it sounds hollow" needs no comma, but "if" steps read better bare.
        told.append(f"{link} {step}." if keep and not step.startswith("if ") else f"{step}.")
    return tidy(f"{opening} {' '.join(told)} {closing}")
