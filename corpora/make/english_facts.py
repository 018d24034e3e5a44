"""Everyday topics, each with facts in the order in which they make sense.

The first fact opens every text on its topic; later ones may be left out, so no
fact leans on any but the first.
"""

from __future__ import annotations

FACTS = """
# frost
- Frost is [thin ice|a thin coat of ice] that forms on [cold things|the ground] on a [clear|still]
  night.
- The ground gives away its heat to the sky, and [grass|a roof] can grow colder than the air above
  it.
- Clouds act like a blanket, so a [cloudy|dull] night [seldom|rarely] brings frost.
- Water in the air turns [straight|directly] into ice on the cold [leaves|stones|glass].
- Cold air is heavy and flows downhill, so [low|sunken] gardens freeze [first|before high ones].
- Gardeners cover young plants with [straw|an old sheet|paper] to keep the heat of the soil in.
- By [nine|ten] in the morning the sun has [usually|often] melted it all.
- A row of jam jars turned over [seedlings|lettuces] can save them on a night of {w:2-5} degrees
  below zero.
# dew
- Dew is water that gathers on [grass|leaves] during the night.
- Warm air can hold more water [vapour|as a gas] than cold air can.
- When the air near the ground cools, it must let go of [some of|part of] its water.
- The [drops|beads] look as if they had fallen, but they [formed|grew] where they lie.
- Heavy dew [often|usually] means a dry, fine day, because it needs a clear sky.
- Beetles in the desert [drink|collect] dew from their own backs.
- You can see the same thing on a cold [bottle|glass] in a warm kitchen.
# fog
- Fog is a cloud that [rests|lies] on the ground.
- It is made of drops so small that [they float|hundreds would fit on a pin].
- It forms over [a river|wet fields] when the air cools [after sunset|before dawn].
- Drivers should [slow down|use low lights], because strong light is thrown back by the drops.
- Ships [sound a horn|ring a bell] every [minute|two minutes] when they cannot see.
- The sun warms the ground, the drops turn to vapour, and the fog [lifts|thins out].
- A light wind can spread fog, but a strong one [breaks it up|sweeps it away].
# wind
- Wind is air that moves from high pressure to low pressure.
- The sun heats land [faster|more quickly] than water, so by day a breeze blows in from the sea.
- At night the land cools first, and the breeze [turns round|blows the other way].
- A [vane|weathercock] points to where the wind comes from, not to where it goes.
- Sailors judge its strength by [the waves|white caps], and farmers by the [trees|dust on the road].
- Near the ground, [hedges|walls|houses] slow it down, so it is [stronger|faster] on a tower.
- A wind of {n:10-18} metres per second makes it hard to [walk|hold an umbrella].
- Some seeds have wings [or|and] hairs so that the wind can carry them [far|for miles].
# rain
- Rain begins when small drops in a cloud join and grow [heavy|too heavy to float].
- One raindrop may hold [a million|a great many] cloud drops.
- A gauge shows how deep the water would stand if none of it [ran off|sank in].
- Ten millimetres of rain is ten litres on each square metre of [roof|field].
- A [slow|gentle] rain soaks in, while a sudden [shower|storm] runs off and takes soil with it.
- The smell after rain comes [partly|in part] from tiny living things in the soil.
- Mountains force the air up and cool it, so one side is [green|wet] and the other [bare|dry].
# snow
- Snow is made of ice crystals that grow [inside|within] a cold cloud.
- Each crystal has six [arms|sides], because of the way water joins to water.
- Fresh snow is full of air, so it keeps the ground [warmer|safe from hard frost].
- {w:8-12} centimetres of fresh snow melt down to about one centimetre of water.
- It [swallows|softens] sound, and that is why a street seems so quiet after it falls.
- Snow that packs together when pressed is [wet|near melting]; dry snow [squeaks|blows like dust].
- When it melts [slowly|bit by bit], rivers have water [far into|until late in] the summer.
# thunder
- Thunder is the sound of air that lightning has heated [in an instant|very suddenly].
- Light reaches us almost at once, but sound needs about three seconds for each kilometre.
- Count the seconds from flash to thunder and divide by three to [get|find] the distance in
  kilometres.
- If you count thirty seconds [or fewer|or less], go indoors [at once|without delay].
- Never [stand|wait] under a lone tree, because lightning often [takes the highest path|strikes it].
- A [car|metal bus] is quite safe, since the current runs [round the outside|through its shell].
- Stay out of [the lake|rivers] and away from [wire fences|masts] until half an hour after the
  last thunder.
# the seasons
- We have seasons because the earth [leans|is tilted] as it travels round the sun.
- In summer our half leans towards the sun, so [its light falls steeply|days are long].
- In winter the same light is spread over [more|a wider strip of] ground and warms it less.
- The distance to the sun [changes little|is not the reason]; it is in fact smallest in January.
- Near the equator the days are [nearly equal|about twelve hours long] all year.
- Birds, trees and [frogs|bees] notice the length of the day and [act on it|make ready].
- The warmest days come [weeks|about a month] after the longest one, because the sea warms slowly.
# rainbows
- A rainbow appears when sunlight [enters|shines into] drops of rain and is bent and thrown back.
- To see one, stand with [your back to the sun|the sun behind you] and look [at|towards] the rain.
- Each colour is bent by a [slightly|little] different amount, so they spread into bands.
- Red is [always|found] on the outside and violet on the inside of the main bow.
- You can make one with a garden hose [at four in the afternoon|on a sunny morning].
- No two people see [exactly|quite] the same bow, since each eye [meets|catches] light from other
  drops.
- At noon in summer the sun is too high for [one to be seen|any bow above the ground].
# clay soil
- Clay soil is made of [very fine|tiny flat] grains that [lie close together|hold tightly to water].
- When wet it [sticks to the spade|can be rolled into a ring]; when dry it cracks.
- Water drains through it slowly, so [roots|plants] may be short of air.
- It holds plant food well and can give [rich|heavy] crops of [wheat|beans|cabbage].
- Dig it in autumn and let the frost [break|crumble] the lumps.
- Compost opens it up and makes it [easier|lighter] to work.
- Never [walk on|dig] it when it is soaked, or you will [press out the air|make bricks].
# sandy soil
- Sandy soil has large grains with wide gaps [between them|that let water through].
- It feels [gritty|rough] between the fingers and will not hold a [ball|shape].
- It warms up early, so [carrots|early potatoes|radishes] do well in it.
- Rain carries plant food down and out of reach of the [roots|crop].
- Add compost every [spring|year], because it holds water like a sponge.
- Water it [often|more often] but with less [at a time|each time].
- In a dry wind, a bare sandy field can [blow away|drift like snow].
# compost
- Compost is what is left when [leaves|plant scraps] and peelings have rotted.
- Small [living things|organisms] eat the scraps and give off heat.
- A good heap can reach {n:50-65} degrees in the middle, which kills many weed seeds.
- It needs both green stuff, like [grass|peelings], and brown stuff, like [straw|dry leaves|card].
- If it smells bad, it is [too wet|short of air], so turn it and add [straw|torn paper].
- If nothing happens, it may be [too dry|too small], so water it and [wait|add more].
- After {w:5-11} months it should be dark, crumbly and [sweet to smell|like forest soil].
- Keep out [meat|cooked food], which brings rats.
# earthworms
- Earthworms [eat|pull down] dead leaves and turn them into [rich|dark] soil.
- Their tunnels let air and rain reach the [roots|deeper soil].
- In wet weather they come [up|to the surface], and birds [are waiting|have a feast].
- They breathe through their skin, which must stay [damp|moist].
- A spade of good soil may hold {w:5-15} of them.
- They move deeper in [frost|dry summers] and curl into a knot to [rest|wait].
- A field with many worms [drains|soaks up a storm] better than one with few.
# how seeds wake
- A seed holds a [tiny|sleeping] plant and a store of food.
- It needs water, air and the right warmth [to wake|before it will grow].
- First it drinks and swells, sometimes to [twice|nearly double] its size.
- The root comes out first and turns [down|towards the pull of the earth], whichever way the seed
  lies.
- Big seeds like [beans|peas] can be sown deep, but [lettuce|fine] seed needs light and a thin
  cover.
- Old seed should be tested: lay {w:10-20} on wet paper and count how many [sprout|wake].
- Too much water shuts out the air, and then the seed [rots|drowns].
# how plants drink
- Plants take up water with [fine|thin] hairs on their roots.
- Thin pipes in the stem carry it up to the [leaves|top].
- Most of it leaves again through small [holes|openings] under the leaves.
- On a hot, windy day a [tall tree|large oak] may use {n:100-300} litres.
- Put a white flower in [blue|red] ink, and [overnight|within hours] the petals will show the pipes.
- When more water leaves than comes in, the plant [wilts|droops].
- Water in the evening, so that less is lost to the [sun|hot air].
# yeast
- Yeast is a very small living thing that [eats|feeds on] sugar.
- It gives off gas, and the gas [makes bubbles in|lifts] the dough.
- It likes warmth, but [anything above|heat over] fifty degrees will kill it.
- In a cold room dough rises [slowly|overnight] and often [tastes|smells] better.
- Salt slows it down, so [do not put|never pour] salt right on top of it.
- To see if it is alive, stir it into [warm|lukewarm] water with sugar and wait {w:8-15} minutes.
- If there is foam on top, you [can bake|may begin].
# boiling
- Water boils when bubbles of steam can form [all through it|down at the bottom].
- At sea level that happens at one hundred degrees; on a high mountain it is [lower|less].
- A bigger flame makes it boil away faster, but not [hotter|at a higher heat].
- A lid keeps the heat in and saves [fuel|gas|time].
- In a pressure cooker steam cannot leave, so the water grows hotter and beans are soft in [half|a
  third of] the time.
- Salt raises the boiling point only by [a trace|a little].
- The white cloud above a [kettle|pot] is not steam but [fine drops|drops of water]; real steam
  cannot be seen.
# rust
- Rust forms when iron meets both water and air.
- Salt makes it [quicker|worse], so [cars|gates|ships] near the sea suffer most.
- It takes more room than the iron did and [flakes|peels] off, so fresh metal is laid bare.
- Paint, [oil|grease] or a coat of zinc keeps the [air|water] away.
- Dry a [knife|spade|saw] after use and wipe it with [a little oil|an oily rag].
- Three nails will show it: one in dry air, one in [boiled|sealed] water, one in [open|ordinary]
  water.
- Light rust comes off with [steel wool|vinegar and a brush].
# soap
- Soap helps water to [carry away|wash off] grease.
- One end of each soap particle likes water and the other [end likes|clings to] fat.
- They surround a drop of grease and [lift|float] it away.
- In hard water, soap makes a grey [scum|film] and less [foam|lather].
- It is made by boiling fat [or|and] oil with a strong alkali.
- Wash your hands for {w:20-30} seconds, [also|even] between the fingers.
- Warm water works better because the fat is [soft|runny].
# ice that floats
- Ice floats because water swells when it freezes.
- About nine parts in ten of [an iceberg|a lump of ice] lie under the surface.
- A [full|closed] bottle left in the frost will [crack|burst].
- Water is heaviest at four degrees, so a [pond|lake] freezes from the top.
- Below the ice the [fish|frogs] spend the winter in water that is [still liquid|a bit warmer].
- Water in cracks freezes and [splits|breaks] even hard rock.
- Ice should be at least {w:10-15} centimetres thick before [anyone|you] should walk on it.
# tides
- Tides are the slow rise and fall of the sea, [twice|two times] on most days.
- The moon pulls [at|on] the water, and the earth turns beneath it.
- High water comes about fifty minutes later [each|every] day.
- When sun and moon pull in line, the tide is [very high|strong], and this is called a spring tide.
- In a narrow bay the sea can rise by {w:8-14} metres, while [a lake|a small sea] hardly moves.
- Walkers should [ask for|read] the table before they cross the [sand|flats].
- Crabs and [mussels|sea snails] on the shore live [half their time|for hours] out of the water.
# springs and wells
- Rain that sinks into the ground [fills|moves through] the gaps between grains and stones.
- Where it meets a layer of clay it cannot go [deeper|further down] and flows sideways.
- If that layer comes out on a hillside, there is a [spring|wet place].
- A well is a hole that goes below the [top|level] of this hidden water.
- Sand cleans water, but it cannot take out [salt|all that is dissolved].
- A well should be [far|at least {w:30-60} steps] from stables and drains.
- After a dry [winter|year] the level [drops|sinks], and some wells fail.
# wood grain
- Wood is built like a bundle of [straws|thin pipes], and they all run [along|up] the trunk.
- It splits easily along the grain but not across [it|the bundle].
- A plane should follow the grain, or it will tear [splinters|chips] out.
- Wood swells in damp air, mostly across the [grain|board], so doors [stick|jam] in [autumn|wet
  months].
- Each ring is one year; a [thin|narrow] ring tells of a dry one.
- Oak is hard and [heavy|lasting], while pine is [soft|light] and easy to work.
- Leave {w:2-4} millimetres of room round a panel so that it can [move|breathe].
# bees
- Bees visit flowers to collect [nectar|sweet juice] and pollen.
- As they move, pollen rubs off, and the flowers can [set|make] seed.
- A bee that finds food dances to tell the others [how far|in which direction] it is.
- A jar of honey stands for [many thousand|more than a million] visits to flowers.
- In winter they [crowd|cluster] together and shiver to stay warm.
- Move slowly near a hive and do not [stand|wait] in front of the [door|entrance].
- Without them there would be [fewer|hardly any] apples, [cherries|almonds] and beans.
# bread crust
- A crust is brown because [heat|the oven] changes the sugar and protein at the surface.
- It starts once the outside is dry and [hotter than water can boil|well over one hundred degrees].
- Steam in the first {w:8-15} minutes keeps the skin soft so that the loaf can [grow|rise].
- Milk or [egg|honey] brushed on top makes it [darker|shine].
- A loaf is done when it sounds [hollow|empty] if you knock on the [base|bottom].
- Let it cool on a [rack|grid], or the crust will turn [soft|damp].
- Stale bread is not only dry: its starch has [set|changed], and a warm oven can [undo this|help].
"""
