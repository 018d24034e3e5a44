"""Story plots about losing, mending, travelling and learning, with their tables."""

from __future__ import annotations

from corpora.make.english_grammar import Beat, Tables, plot, table

# Cells agree along a row: the thing, where it turned up, and how it came to be there.
LOST = table(
    "thing use found why",
    """
- silver whistle / to call the sheep home / in the straw of the lambing pen
  / It had slipped through a hole in a coat pocket
- brass key / to lock the seed store / under the flour bin
  / A mouse had dragged it there by its woollen string
- reading glasses / for the small print in the account book / on top of {a.his} own head
  / They had been pushed up to look at a passing bird
- leather notebook / to write down the rain every morning / between two cookbooks
  / Somebody had tidied the shelf in a hurry
- pocket watch / to time the bread / at the bottom of the sugar jar
  / It had dropped from its chain while the cakes were being mixed
- thimble / to push the needle through sail cloth / in the toe of a winter boot
  / The cat liked to play with anything that rolled
- pruning knife / to trim the vines / stuck in the trunk of the oldest apple tree
  / It had been left there when the thunder began
- blue scarf / for the cold walk to work / around the neck of the scarecrow
  / The wind had been so warm that day that nobody missed it
- fountain pen / to sign for parcels / inside the rolled-up map
  / It had been used as a weight and then rolled in with the paper
- season ticket / for the morning train / marking page ninety of a novel
  / It made such a good bookmark that it was forgotten
- garden trowel / to lift the seedlings / in the compost heap
  / It had been thrown out with an armful of weeds
- tape measure / to check the window frames / coiled in a coffee tin
  / The tin was meant for screws, but it was the nearest one to hand
- bicycle pump / for every long ride / behind the rain barrel
  / A storm had blown it off the wall
- school timetable / to know the hour of each lesson / stuck to the back of a calendar
  / A spot of jam had glued it there
- small hammer / to fix the hen house / on the roof of the hen house itself
  / {a.He} had put it down to look at the view
- wedding ring / to remember a happy day / in the middle of a carrot
  / The carrot had grown right through it in the garden bed
- red umbrella / for cloudy days / hanging from the bell rope
  / A child had used it to reach the rope and had gone home
- purse / for market days / in the vegetable basket, below the leeks
  / It was heavy with coins and had sunk to the bottom
""",
)
LOST_PLOT = plot(
    "lost",
    """
=
- One [morning|day|evening] in {season}, {a} could not find the {lost.thing} [anywhere|at all].
- "Have you seen my {lost.thing}?" asked {a} [at breakfast|at the door|in a small voice].
- {a} the {a.job} owned a {lost.thing} and took good care of it, until one {day} it was gone.
- It was {season}, and {season.look}. {a} wanted the {lost.thing}, but the hook was empty.
=
- It was needed {lost.use}, and without it {a.he} felt [quite lost|like half a {a.job}|clumsy].
- {a.He} had used it {lost.use} [for years|since childhood|ever since leaving {town}].
- Nothing else would do {lost.use}, and buying another would cost a week's [pay|savings].
=
- {a.He} looked under the [bed|bench|table], behind the [stove|curtain|door] and in every
  [drawer|box|basket], but found only {w:2-9} [buttons|nails|old stamps|walnut shells].
- {a.He} emptied {w:2-6} drawers onto the floor and turned out the pockets of
  [every coat|the {colour} jacket|two old aprons], and [still there was nothing|all in vain].
- First {a.he} searched the [kitchen|workshop|hall], then the [yard|attic|cellar], and then
  [the whole lane|the cart|the kitchen again], and came back {worry}.
=?
- "{b} must have borrowed it," {a.he} thought, and was [at once ashamed of the thought|a little
  angry]. "No, {b.he} always asks first."
- The {animal} watched all this from the [doorway|wall|warm step] and [offered no opinion|yawned
  |looked innocent].
- Outside, {weather.came}, and {weather.effect}. That did not make the search any easier.
=+
- Then {b}, {a.his} {b.kin}, came by with {food}. "Sit down and think," said {b.he}. "When did you
  last [hold it|have it in your hand|use it]?"
- {a.His} {b.kin} {b} offered to help. "Searching is like {hobby}," {b.he} said. "You must [begin
  at one end|go slowly|stop hurrying]. Where were you on {day2}?"
- At last {a.he} asked {b}, who [never hurried|liked riddles|noticed everything]. {b} said, "Walk
  through your day backwards, and tell me each [step|thing you did]."
=
- {a} shut both eyes and [thought|remembered]. [Slowly|Step by step|Bit by bit] the day came back.
- They went over the day together, from [supper|sunset|bedtime] back to [sunrise|breakfast|noon].
- It took [two cups of {drink}|a whole pot of {drink}|a quarter of an hour] before {a.he} jumped up.
=
- And there, {lost.found}, lay the {lost.thing}. {lost.why}.
- "Wait!" cried {a}. They hurried {place.to}, found nothing, hurried home, and found the
  {lost.thing} {lost.found}. {lost.why}.
- The {lost.thing} was {lost.found}. {lost.why}, and nobody had [thought|dreamed] of looking there.
=
- {a} was {mood}, and that evening they [shared|ate] {food2} to celebrate.
- Since then {a} [hangs|keeps] a list by the door that says what belongs where. {b} says that
  {saying}.
- "{saying}," said {b}, and {a} laughed [until the {animal2} woke up|out loud].
- From that day {a.he} put everything back [in its place|on its own hook] before [going to
  bed|sitting down], and felt {mood}.
""",
)

BROKEN = table(
    "thing sign cause fix after",
    """
- pump / coughed twice and gave no water / A leather washer had dried out and cracked
  / soaked a new washer in oil and fitted it with four small screws
  / the water ran clear and cold again
- mill wheel / groaned and stood still / A branch was wedged between two of the paddles
  / closed the gate, waded in and sawed the branch in half / the stones began to turn
- kitchen clock / began to lose an hour a day / Flour dust had thickened the oil
  / wiped the wheels with a feather and gave each one a drop of clean oil
  / it kept time with the church bell
- old radio / hummed but would not speak / One wire had come loose from its clip
  / scraped the wire bright and soldered it back / a voice was reading the weather
- sewing machine / tore the thread at every stitch / The needle had been put in back to front
  / turned the needle round and threaded it afresh / the seam ran straight as a ruler
- kiln / would not grow hot enough / A crack in the door was letting the heat escape
  / packed the crack with wet clay and ash / the bowls came out shining
- gate / dragged on the ground / The top hinge had pulled away from the rotten post
  / sank a new oak post and moved the hinge up / a child could swing it with one finger
- fishing boat / took in water at the bow / The tar had worn off between two boards
  / dried the boards, pressed in twisted cotton and painted it with hot tar
  / not a drop came through
- oven / burned every loaf on the left side / A brick had fallen across the flue
  / reached in with a long hook and pulled the brick out / the crusts were brown all round
- bell / gave only a dull clunk / A swallow had built its nest inside
  / waited until the young birds had flown and then cleaned the metal
  / it rang across the whole valley
- scale / showed two grams with nothing on it / Syrup had dried under one pan
  / washed both pans in warm water and set the pointer to zero / every weight agreed
- lamp / flickered and smoked / The wick was crooked and full of soot
  / trimmed the wick level and washed the glass / the room was bright enough to read in
- bicycle / clicked at every turn / A tooth of the gear was bent
  / straightened the tooth in a vice and greased the chain / it ran without a sound
- greenhouse fan / stopped on the hottest day / A spider had spun thick webs on the contacts
  / brushed the contacts clean and closed the lid properly / the tomato plants stood up again
- printing press / left a grey stripe on each sheet / There was a hair on the ink roller
  / lifted the hair with a pin and inked the roller again / the pages came out sharp
- drum / sounded flat and tired / The skin had gone slack in the damp air
  / warmed it by the fire and tightened the cords crosswise / the windows shook with the beat
- cart / leaned to the left / Two spokes of the wheel had split
  / carved new spokes from ash wood and drove them in / it rolled level with a full load
- balance / would not settle / A draught from the window was moving the pans
  / built a small glass box around it / it stood still within a breath
""",
)
BROKEN_PLOT = plot(
    "broken",
    """
=
- In {season}, [just when|on the very day that] {season.work}, the {broken.thing} {broken.sign}.
- {a} was still [asleep|at breakfast] when {c} came with the news. The {broken.thing} {broken.sign}.
- For {w:3-40} years the {broken.thing} had [done its duty|worked well]. Then, one {day}, it
  {broken.sign}.
- "That is odd," said {a} the {a.job}. The {broken.thing} {broken.sign}.
=
- "It is [too old|finished|worn out]," said {b}. "We should [sell it for scrap|buy a new one|send to
  {town} for another]."
- {b} gave it a [kick|good shake|hard look], which did not help [at all|in the least].
- {b}, {a.his} {b.kin}, [sighed|shook {b.his} head]. "A new one costs more than we [earn in {w:2-9}
  weeks|have in the tin]."
- Everyone had an opinion. {b} blamed {weather}, and {c} blamed {b}.
=
- {a} did not [argue|answer]. {a.He} took a [lamp|mirror|notebook] and looked at each part in turn.
- But {a} said, "Before we [give up|spend money], let us find out what is wrong."
- "Nothing stops without a reason," said {a}, and [fetched the tools|lay down to look beneath it
  |began to take it apart, putting every part on a cloth in order].
=
- After {w:10-50} minutes {a.he} found the trouble. {broken.cause}.
- The answer was [simple|small]. {broken.cause}.
- {b} held the [light|ladder|cloth] while {a} looked inside. {broken.cause}.
- The [third|second|fourth] thing {a.he} checked was the right one. {broken.cause}.
=
- {a} {broken.fix}.
- Together they [worked until dark|rolled up their sleeves]. {a} {broken.fix}, while {b} made
  {drink}.
- With [steady|careful|oily] hands {a.he} {broken.fix}.
=+
- When {a.he} tried it again, {broken.after}.
- They all held their breath. Then {broken.after}, and {c} clapped.
- By [noon|evening|the next morning], {broken.after}.
=
- The whole repair had cost {w:2-9} [coins|pennies] and one [afternoon|morning|day].
- "I was ready to throw it away," said {b}, who looked {worry}. "You were ready to [ask it a
  question|look]," said {a}.
- {a} wrote the [cause|fault] and the [cure|remedy] on a card and [nailed it to the wall|hung it
  beside the {broken.thing}], so that the next person would know.
- {b} paid {a.him} with {food}, and everybody went home {mood}.
- As {a.his} {c.kin} {c} liked to say, {saying}.
""",
)

TRIP = table(
    "goal stop solve lesson",
    """
- to deliver a wedding cake / the road was under water / carried the cake over the footbridge on
  {a.his} head / the cake had only one small dent
- to sit an examination / the last {public} had already left / begged a ride from the milk lorry
  / the clock struck nine as {a.he} sat down
- to visit {a.his} {b.kin} {b} / a tree lay across the road / helped a farmer saw it into logs
  / the farmer filled {a.his} bag with apples as thanks
- to sell {w:2-9} lambs / the lambs ran into a field of clover / rattled a bucket of oats until they
  came back / the fattest lamb fetched the best price of the day
- to bring medicine to {b} / the bridge was being repaired / asked the workers to pass the parcel
  across on a rope / the medicine arrived before the doctor did
- to return {w:3-12} library books / the strap of the bag broke on the hill / made a new strap
  from a
  belt and a piece of wire / the librarian did not ask for the fine
- to see the sea for the first time / the map was twenty years old / asked the way of everyone
  who had sand on their shoes / the sea was louder than in any book
- to fetch a new window pane / the wind kept lifting the glass / laid the pane flat between two
  mattresses / not a corner was chipped
- to hear {b} sing / the tickets were still on the kitchen table / listened from the wall outside
  / the song sounded even sweeter in the open air
- to measure the snow on the pass / the cloud came down like a curtain / sat behind a rock and
  waited for an hour / the air cleared and the whole valley shone
- to show a prize hen at the fair / the hen jumped out and hid in a ditch / clucked softly and
  scattered crumbs / the hen won second place with a muddy tail
- to start a new job / the signpost had been turned round by boys / looked at the moss and the sun
  to find north / the manager praised {a.his} sense of direction
- to take soil samples / all the jars were broken by a bump / wrapped the samples in cabbage
  leaves and labelled them with chalk / the results were as good as any
- to meet {b} at the station / both of them waited on different platforms / climbed on a bench and
  whistled their old school tune / they found each other in a minute
""",
)
TRIP_PLOT = plot(
    "trip",
    """
=
- {time}, {a} left {town} {transport.by} {trip.goal}.
- In {season}, when {season.work}, {a} the {a.job} set out for {town} {trip.goal}.
- {a} packed {food}, a [blanket|map|bottle of {drink}] and a {colour} [hat|coat|scarf], and set off
  [before the others woke|at once] {trip.goal}.
=
- The {transport} {transport.slow}, but {a.he} [was patient|did not mind|had time to spare]. The
  last {w:2-9} miles had to be done on foot.
- The way led past {place}, where {season.look}. There {a.he} [got out|climbed down] and walked.
- For the first {w:3-20} miles all went well. [Larks sang|A fox looked up|Children waved]. After
  that
  {a.he} had to walk.
=?
- Then {weather.came}, and soon {weather.effect}. {a} was glad to have {weather.wear}.
- "Take {weather.wear}," an old {c.job} had said, and {a.he} was right to listen, for soon
  {weather.came}.
=
- Near {town2}, though, {trip.stop}.
- Half way there, {trip.stop}. {a} stood still, [scratched {a.his} head|counted to ten] and felt
  [cross|troubled|gloomy|uneasy].
- But trouble often comes on a [good|short] road, and [that day|this time] {trip.stop}.
=
- A [stranger|{c.job}] called {c} [shook {c.his} head|stopped to look]. "Go home and try again on
  {day}," {c.he} [said|advised].
- "What would {b} do?" {a.he} wondered, and [the answer made {a.him} smile|then it was clear].
- [Turning back|Going home] was easy, but {a.he} [had given a promise|was no quitter].
=
- So {a} {trip.solve}.
- {a.He} [thought for a moment|ate a piece of bread|looked around], and then {a.he} {trip.solve}.
=
- In the end {trip.lesson}.
- It [took an extra hour|made {a.him} late], but {trip.lesson}.
- When the journey was over, {trip.lesson}, and {a} was {mood}.
=+
- That night {a.he} [wrote|sent] a postcard home. "All is well. Remember that {saying}."
- {a.He} came home on {day2} and told the story {w:2-9} times, and [each time it grew longer|the
  {animal} listened every time].
- Whenever somebody [complained|grumbled] about the road to {town}, {a} would [smile|nod] and tell
  this story.
""",
)

SKILL = table(
    "doing first advice later",
    """
- baking bread / the loaf came out as hard as a brick / Give the dough time, and keep it out of
  the draught / the crust sang as it cooled
- riding a horse / the pony walked straight back to the stable / Sit deep and look where you want
  to go / they trotted round the field like old friends
- reading a thermometer / every number came out too high / Put your eye level with the top of the
  column / {a.his} readings matched those of the teacher
- throwing pots / the clay flew across the room / Wet your hands and press from both sides at once
  / a round bowl stood on the wheel
- rowing / the boat went in circles / Pull with both arms and keep your eye on the pier
  / the boat ran straight to the island
- playing the fiddle / the cat left the house / Play one note until it is clean, and only then
  another / neighbours opened their windows to listen
- knitting / a sock grew to the size of a sack / Count the stitches at the end of every row
  / both socks were the same length
- sharpening a saw / half the teeth pointed the wrong way / Mark each tooth with chalk as you do it
  / the saw went through oak like butter
- typing / the page was full of odd letters / Look at the text and not at your fingers
  / a whole letter had only one mistake
- growing tomatoes / the leaves turned yellow and curled / Water the roots and never the leaves
  / there were more tomatoes than jars to put them in
- speaking in public / no word would come out / Choose one kind face and talk to that
  / the hall laughed at the right places
- using a microscope / there was nothing to see but eyelashes / Start with the weakest lens and turn
  the wheel slowly / a green thread of pond weed filled the view
- laying bricks / the wall leaned like a tired man / Stretch a string first and trust it more than
  your eye / the wall stood as straight as a door
- swimming / {a.he} swallowed half the lake / Breathe out under the water and in above it
  / {a.he} crossed the bay and back
- drawing maps / the river ran uphill / Pace out the long lines first and put in the rest later
  / a stranger found the way with it
- calling a dog / it ran after a hare / Praise it when it comes, even when it comes late
  / it sat down beside {a.him} without being told
- weighing powders / half of it blew away / Close the window, and let the pan rest before you read
  / three weighings in a row agreed
- telling jokes / only {a.he} laughed / Keep the best word for the end / the whole table roared
""",
)
SKILL_PLOT = plot(
    "skill",
    """
=
- {a} wanted to be good at {skill.doing}. Nobody in {a.his} family had [ever tried it|the patience].
- {w:2-9} years ago {a} knew nothing about {skill.doing}.
- {a} the {a.job} made up {a.his} mind, one {day} in {season}, to learn {skill.doing}.
- Everyone in {town} seemed to be good at {skill.doing}, [except|but not] {a}.
=
- The first time {a.he} tried, {skill.first}.
- The beginning was [hard|a disaster|not promising]. In front of {w:3-12} people, {skill.first}.
- {a.He} borrowed a book, read {w:2-9} pages and began. [At once|Sadly|Of course], {skill.first}.
=
- {b} laughed, [but not unkindly|and so did {c}]. {a} went home {worry}.
- "Perhaps it is not for me," said {a}, who felt {worry}. "I [should go back to|am better at]
  {hobby}."
- {c} [smiled|grinned]. "Now you know one way that does not work."
=
- {b}, who had learned it from {b.his} [mother|father|grandfather|master], watched for a while.
  "{skill.advice}," {b.he} said.
- Then {a} met {b}, a {b.job} with [rough|quick|gentle] hands. "{skill.advice}," was all {b.he}
  said.
- "May I tell you something?" asked {b}. "{skill.advice}."
=
- {a} tried that for {w:2-9} [days|weeks], always {time}, and even when there was {weather}.
- {a.He} wrote the words on a {colour} card and practised [every day|each evening] for
  {w:10-40} minutes.
- It [sounded|seemed] too simple, but {a.he} tried it again, and again, [and once more|{w:5-30}
  times
  in all].
=+
- By {season2}, {skill.later}.
- One [morning|evening], without any warning, it worked, and {skill.later}.
- [After a month|Little by little] the mistakes grew rare. At last {skill.later}.
=
- {a} ran to tell {b}. "I know," {b.he} said. "I [heard|was watching]. {saying}."
- Now {a} teaches {c}, and says the same [words|thing]: "{skill.advice}."
- {a.He} was {mood}. "It was not magic," {a.he} told {c}. "It was [practice|{w:20-90} tries]."
- {b} gave {a.him} {food} and said that {saying}.
""",
)

STORY_TABLES: Tables = {"lost": LOST, "broken": BROKEN, "trip": TRIP, "skill": SKILL}
STORY_PLOTS: dict[str, list[Beat]] = {
    "lost": LOST_PLOT,
    "broken": BROKEN_PLOT,
    "trip": TRIP_PLOT,
    "skill": SKILL_PLOT,
}
