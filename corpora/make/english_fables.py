"""Story plots about animals, quarrels, markets, noises and first days at work."""

from __future__ import annotations

from corpora.make.english_grammar import Beat, Tables, plot, table

FABLE = table(
    "proud humble boast test outcome moral",
    """
- pine / reed / I bow to nobody / A storm came over the lake
  / The pine stood stiff and broke in the middle, but the reed bent and rose again
  / to give way a little is not to lose
- hare / snail / I could cross this field nine times while you crossed it once
  / They both had to fetch water from a well with a narrow hole
  / The hare spilled all of it in leaps, but the snail came home with a full shell
  / speed is of no use when the cup is empty
- crow / sparrow / My voice fills the whole wood / A hawk came looking for food
  / The hawk heard the crow at once, but nobody noticed the sparrow in the hedge
  / it is not always good to be heard
- iron pot / clay pot / Fire cannot hurt me / The two were left out in the rain all winter
  / The iron pot was brown with rust, but the clay pot was only clean
  / each kind of strength has its own weakness
- river / spring / Ships sail on me / The summer brought no rain
  / The river shrank to a ditch of mud, but the spring went on filling one bucket after another
  / what is small and steady can outlast what is great
- fox / hedgehog / I know a hundred tricks / The hounds came through the gate
  / The fox could not choose between the tricks in time, but the hedgehog rolled up and was safe
  / one thing done well is worth a hundred half done
- peacock / hen / No bird is dressed as I am / The farmer came with an empty basket
  / The peacock had only feathers to offer, but the hen had laid an egg
  / looks do not fill the basket
- lion / mouse / Nothing can hold me / A net fell from a tree
  / The lion roared and pulled in vain, but the mouse bit through the cords
  / no friend is too small
- candle / stove / Everyone looks at me / The night grew bitterly cold
  / The guests turned their backs to the candle and moved close to the stove
  / to be useful is better than to be admired
- white cloud / grey cloud / Painters love me / The fields were cracked with drought
  / The white cloud sailed over without a drop, but the grey one wept and the corn grew
  / the finest is not always the kindest
- rooster / owl / The sun rises because I call / The rooster slept late one morning
  / The sun came up all the same, and the owl blinked and said nothing
  / the world turns without our shouting
- oak / ivy / I have stood for three hundred years / Woodcutters came with axes
  / They wanted straight timber and took the oak, but the ivy was left to climb the wall
  / a great name draws sharp eyes
- wolf / goat / I fear no winter / Snow covered the mountain path
  / The wolf slid down to the bottom, but the goat put each foot where it would hold
  / sure steps are better than strong teeth
- gold coin / copper coin / I could buy a horse / A hungry child came with an empty bowl
  / No baker could change the gold, but the copper bought a warm roll
  / what is needed is worth more than what is rare
- drum / needle / They hear me in the next valley / The king's coat tore before the feast
  / The drum could only boom, but the needle closed the tear in silence
  / quiet work holds the world together
- kite / string / See how high I fly / The kite begged to be let go
  / The string snapped, and the kite tumbled into a muddy pond
  / what holds us back may also hold us up
""",
)
FABLE_PLOT = plot(
    "fable",
    """
=
- [Long ago|Once|In the old days], near {town}, a {fable.proud} and a {fable.humble} lived side by
  side.
- A {fable.proud} once [met|looked down on] a {fable.humble} {place.at}.
- They tell a story in {town} about a {fable.proud} and a {fable.humble}.
- {a} told this tale to {b} {time}. There was a {fable.proud}, {a.he} said, that [lived close
  to|shared a home with] a {fable.humble}.
=
- "{fable.boast}," said the {fable.proud}. "[And what about you?|What can you do?|Poor little
  {fable.humble}!]"
- Every [day|morning|evening] the {fable.proud} [boasted|said the same thing]. "{fable.boast}."
- The {fable.proud} was [very proud|full of itself]. "{fable.boast}," it said {w:2-9} times a day.
=
- The {fable.humble} [only smiled|said nothing|went on with its work]. "[We shall see|That may
  be|You
  are right]," it [whispered|thought|answered].
- "I am [only|just] a {fable.humble}," said the other. "I do what I can."
- The {fable.humble} was [used to this|not hurt], for it knew that {saying}.
=
- Then, in {season}, things changed. {fable.test}.
- But one {day} [no one was ready|all this ended]. {fable.test}.
- It went on like this for {w:2-9} years. {fable.test}.
=
- {fable.outcome}.
- What do you think happened? {fable.outcome}.
- [Nobody could help|It was all over quickly|It happened in a moment]. {fable.outcome}.
=+
- So {fable.moral}.
- Old people [in|around] {town2} still say that {fable.moral}.
- [From then on|After that] there was no more boasting, for everyone had [seen|learned] that
  {fable.moral}.
- "[And the lesson?|What does it mean?]" asked {c}. "That {fable.moral}," {d} [answered|said], and
  poured some more {drink}.
""",
)

QUARREL = table(
    "cause hurt amends peace",
    """
- an apple tree that hung over both gardens / The apples rotted on the grass
  / carried a basket of the best ones next door / They made cider together that year
- a borrowed ladder / The ladder stood out in the rain and warped
  / built a new ladder with two extra steps / The two now own it in common
- the noise of a trumpet / Windows were shut, even on warm nights
  / offered to practise only before supper / On {day} the whole street came to hear it
- the price of a calf / They walked past each other in church
  / sent back half of the money in a plain envelope / The calf grew into the best cow of the herd
- a broken window / Nobody in the lane would say who had thrown the ball
  / knocked and said, "It was me" / They put in the new pane side by side
- a recipe for plum jam / One would not lend sugar to the other
  / wrote out the whole recipe in clear letters / Their jam won a ribbon under both names
- a seat on the morning bus / They sat with their backs to each other
  / brought a cushion and a friendly word / Now the ride is too short for all their talk
- a wrong number in the laboratory book / Each kept a separate book and hid it
  / measured everything again and admitted the mistake / They wrote one good report instead of two
- a fence that was one foot too far over / The fence was moved by night and moved back by day
  / pulled up the posts and planted a hedge where both could agree
  / Birds nested there, and nobody asked on whose side
- a joke about a hat / The hat was never worn again / bought a hat that was even sillier and wore it
  / They laughed until people turned round
- a dog that dug up the tulips / The gate was tied shut with wire
  / planted fifty new bulbs in the evening / In spring the dog lay among the flowers and behaved
- who had found the old coin / They cut the map of the field in two
  / put the coin in the school museum with both names on the card / They dig together every {day}
- a song that was sung too late / A bucket of water was emptied from a window
  / sang it again at noon with an apology in the last verse / It is still the song of the street
- an unpaid bill / The shop door was closed to one customer
  / paid it at last with a jar of honey on top / The account book shows no debt since
""",
)
QUARREL_PLOT = plot(
    "quarrel",
    """
=
- {a} and {b} had been [friends|neighbours] for {w:3-40} years when they quarrelled over
  {quarrel.cause}.
- It [began|started] with {quarrel.cause}. {a} said [one|a] word too many, and {b} said {w:2-9}
  more.
- Nobody in {town} remembered [a worse quarrel|such a quarrel] as the one between {a} and {b}. The
  reason was {quarrel.cause}.
=
- {quarrel.hurt}.
- For {w:2-11} weeks they did not speak. {quarrel.hurt}.
- All through {season} it grew worse. {quarrel.hurt}.
=
- "[Let {b.him} come first|{b} should say sorry]," said {a}. "[Why should I?|Never!]" said {b}.
- {c} tried to [make peace|talk to them], but each had the same answer: "[Ask the other
  one|It was not my fault]."
- {a} was {worry}, and {b} was {worry2}, but neither would [say so|admit it].
=
- Then, {time}, {weather.came}. {weather.effect}, and {a} saw that {b} was [alone|out in it without
  {weather.wear}|struggling].
- One night {a} could not sleep. "{saying}," {a.his} {c.kin} used to say, and {a.he} [knew that it
  was
  true|felt ashamed].
- {c}, who was only {w:5-10}, asked {a}, "What was it about?" {a} [opened {a.his} mouth and closed
  it
  again|could hardly remember].
=
- The next [morning|day], {a} {quarrel.amends}.
- So {a} [swallowed {a.his} pride|took a deep breath] and {quarrel.amends}.
=
- "I [was about to do|had thought of doing] the same," said {b}, and [they both laughed|put the
  kettle on].
- {b} [stood silent|looked at {a.his} shoes] for a moment and then [held out a hand.|said, "I was
  wrong too."]
- They sat down to {food}, and [the first words were the hardest|soon it was like old times].
=+
- {quarrel.peace}.
- That is how it ended. {quarrel.peace}.
- People [say|like to say] that {b} felt {mood} and {a} felt {mood2}. {quarrel.peace}.
""",
)

NOISE = table(
    "sound guess cause cure",
    """
- a slow tapping / a ghost with a stick / a loose shutter that moved in the wind
  / put a drop of glue and one screw into the hook
- a low hum / bees in the wall / a spinning top that the baby had left on the stove plate
  / lifted the top off and gave it back
- a scratching / burglars at work with a file / a hedgehog that was eating the cat's supper
  / set out a second plate for it
- a long whistle / the midnight train / a bottle on the sill that the
  breeze blew across / put a cork in the bottle
- steps on the roof / a thief / two pigeons that were walking up and down in the gutter
  / cleaned the gutter and moved the crumbs elsewhere
- a soft drip / a burst pipe / melting frost that fell on an upturned bucket
  / turned the bucket the right way up
- a groan / someone in pain / the old pump, which sucked air because the well was low
  / drew less water for a week
- a tinkle of bells / sheep in the street / spoons that shook in a drawer whenever a lorry passed
  / laid a cloth beneath the spoons
- a snore / a bear / grandfather, who had fallen asleep in the hay
  / covered him with a blanket and let him sleep
- a crackle / fire in the attic / a paper bag that slowly unfolded itself
  / smoothed the bag and put it with the others
- a squeak / a whole family of mice / the weather vane, which had not been oiled for years
  / climbed up with a can of oil
- a rattle / chains / a marble that rolled in a desk drawer when the floor shook
  / wedged the drawer with a folded card
- a thump every few minutes / somebody at the door / ripe pears that fell on the shed
  / picked the rest of the pears before night
- a whisper / strangers behind the door / dry leaves that the draught pushed along the passage
  / swept the leaves out and closed the gap
""",
)
NOISE_PLOT = plot(
    "noise",
    """
=
- One night in {season} {a} [woke up|sat up in bed] and heard {noise.sound}.
- There was {noise.sound} {place.at}, and it [came|could be heard] every night at
  [ten|eleven|midnight|two].
- "Listen," said {a}. It was {time}, and from [above|below|the next room] came {noise.sound}.
=
- "It is {noise.guess}," [whispered|said] {b}, {a.his} {b.kin}, and [pulled the blanket up|reached
  for a broom|bolted the door].
- {b} was sure that it was {noise.guess}. {c} [did not believe it|went pale|ran for the {d.job}].
- By [breakfast|the next day] all of {town} was talking about {noise.guess}.
=
- {a} was [nervous|uneasy|puzzled|frightened] too, but [wanted to know|could not bear not
  knowing]. "We [should look|must test
  it]," {a.he} said.
- "Have you seen it?" asked {a}. "No," said {b}. "Then we do not know yet."
- {a} took a [lantern|torch|candle] and a {colour} notebook and wrote down [the time|each sound] for
  {w:2-6} nights.
=?
- It was louder when there was {weather}, and that was the first [clue|hint].
- The noise stopped when {a.he} stood [still|on one leg], and began again as soon as {a.he} moved.
- The {animal} was not afraid at all, and that [gave {a.him} courage|made {a.him} think].
=
- Step by step {a.he} [followed the sound|came closer]. It was {noise.cause}.
- [Up the stairs|Along the passage|Round the corner] {a.he} went, opened the door, and found
  {noise.cause}.
- And what was it? It was {noise.cause}.
=
- {a} [laughed|smiled] and {noise.cure}.
- With that, the mystery was over. {a} {noise.cure}.
=+
- "[I knew it all along|I said so]," said {b}, [eating|and took a bite of] {food}.
- The next night was [quiet|so still that {b} could not sleep], and {a} was {mood}.
- "{saying}," {a} wrote in the notebook, and [closed|shut] it.
- {c} was almost [sorry|sad]. {noise.guess} would have made [a better|a finer] story.
""",
)

JOBDAY = table(
    "place task slip word",
    """
- a bakery / to weigh the flour for the rolls / used salt where sugar should have been
  / Taste before you mix, and label both jars
- a chemistry laboratory / to wash forty glass flasks / left soap in every one of them
  / Rinse three times, and the last time with pure water
- a post office / to sort the morning letters / sent a whole sack to the wrong island
  / Read the last line of an address first
- a hospital kitchen / to carry the trays / gave the soup to a man who could eat only rice
  / Look at the card, then at the face, then at the tray
- a bookshop / to put the new books in order / sorted all of them by colour
  / Ask what the order is for before you make it
- a weather station / to read the rain gauge at six / emptied it before writing the number down
  / Read, write, read again, and only then pour it out
- a farm / to feed the young pigs / forgot to close the gate / A gate is either open or your fault
- a theatre / to raise the curtain / raised it while the king was still tying his shoes
  / Wait for the bell, even when you are sure
- a boat yard / to paint a hull / painted over the name / Cover what must stay before you start
- a survey office / to hold the measuring staff / leaned it to one side all morning
  / Watch the bubble, because the bubble does not flatter
- a hotel / to wake the guests / woke room sixteen instead of room sixty / Say the number aloud,
  twice
- a seed laboratory / to count one hundred seeds / sneezed at number ninety-one
  / Count in tens, and make a mark for each
- a tailor's shop / to cut the lining / cut two left sleeves / Lay the pieces side by side, then cut
- a newspaper / to write up the cattle show / gave the prize to the wrong cow
  / Check every name, most of all the easy ones
""",
)
JOBDAY_PLOT = plot(
    "jobday",
    """
=
- On {day} {a} began work in {jobday.place}.
- {a} was {w:16-24} and had never [earned a wage|had a job] before the first day in {jobday.place}.
- After {w:2-9} years as a {a.job}, {a} took a new post in {jobday.place} in {town}.
=
- The [first task|job] was {jobday.task}, and {b} [showed {a.him} how|explained it only once].
- "Your job is {jobday.task}," said {b}, {who}. "[Is that clear?|Any questions?]"
- {b}, {who}, asked {a.him} {jobday.task}. It [looked|sounded] easy.
=
- {a} wanted to be quick and {jobday.slip}.
- But {a.he} was thinking about {hobby}, and {jobday.slip}.
- Perhaps it was nerves, or perhaps the {colour} [apron|coat] was too tight. {a} {jobday.slip}.
=
- {a.He} noticed it {time} and [turned hot and cold|went red to the ears|wanted to run away].
- Nobody had noticed. {a.He} could have [kept quiet|blamed somebody], but {a.he} was {worry}.
- {c} saw it first. "[Oh dear|Oh my]," said {c}, and [whistled|put down {c.his} cup].
=
- So {a} went to {b} and said, "I have made a mistake, and I [want to|would like to] put it right."
- {a} [took a deep breath|put down the tools] and told {b} [everything|the truth].
=
- {b} did not shout. "{jobday.word}," {b.he} said. "I [learned it the same way|did worse] in
  {season}, {w:9-30} years ago."
- "Good," said {b}, [to {a.his} surprise|after a pause]. "Now you will remember this.
  {jobday.word}."
- {b} [sat down|smiled]. "The one who tells me is the one I can trust. {jobday.word}."
=+
- They [stayed|worked] until [seven|eight|nine] to put it right and ate {food} on the [steps|bench].
- Today {a} runs the place, and over the door hangs a sign: "{jobday.word}."
- {a} walked home {mood}. The second day was [easier|better], and the [fifth|tenth|twentieth] the
  best.
- Years later {a} said the same words to {d}, who had [just made|come with] the same mistake.
""",
)
JOBWHO = table(
    "name",
    """
- who was in charge
- the oldest there
- a {b.job} by training
- who had worked there since {month}
- a calm person with {colour} glasses
""",
)

FABLE_TABLES: Tables = {
    "fable": FABLE,
    "quarrel": QUARREL,
    "noise": NOISE,
    "jobday": JOBDAY,
    "who": JOBWHO,
}
FABLE_PLOTS: dict[str, list[Beat]] = {
    "fable": FABLE_PLOT,
    "quarrel": QUARREL_PLOT,
    "noise": NOISE_PLOT,
    "jobday": JOBDAY_PLOT,
}
