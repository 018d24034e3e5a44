"""More dialogues: planning, the laboratory, the telephone, riddles, the clinic, lending."""

from __future__ import annotations

from random import Random

from corpora.make.english_grammar import Beat, Tables, plot, table

PLAN_PLOT = plot(
    "plan",
    """
=
- n: {a} and {b} are planning a trip to {town}.
- n: It is {season}, and {a} wants to take {b}, {a.his} {b.kin}, to {town}.
=-
- a: Shall we go on {day} or on {day2}?
- a: What do you [say to|think of] a trip to {town} on {day}?
=-
- b: {day2} is better. On {day} I have to [help {c}|see the {c.job}].
- b: [Fine|Gladly]. But my {c.kin} {c} is coming on {day2}, so we must be back by then.
=-
- a: We could go {transport.by} and come back {transport2.by}.
- a: Last time the {transport} {transport.slow}. Let us go {transport2.by}.
=-
- b: How long [does it take|will that be]?
- b: [And what if there is|What shall we do in case of] {weather}?
=-
- a: About {w:2-6} hours, with a [stop|rest] {place.at}.
- a: I will pack {weather.wear}, and you can bring [a map|an umbrella|a rug].
=-
- b: [Who brings|What about] the food? I can make {food}.
- b: I would like to see {place2.the} there. {d} says it is worth it.
=-
- a: Good. Then I will bring {goods} and {drink}.
- a: It is only open until {w:3-6}, so we should [start early|leave by {w:6-9}].
=-
- b: [Write|Make] a list, or we will forget the [matches|tickets|towels] again.
- b: Last {month2} you forgot the {colour} bag with all the [money|food] in it.
=-
- a: [That was you|I have not forgotten]! {saying}.
- a: I have the list here: {goods2}, [string|soap|candles], {weather.wear} and a [knife|pencil|cup].
=-
- n: On the day itself {weather2.came}, but they went [all the same|anyway].
- n: They left {time} and came home {mood}.
- n: In the end {c} came along, and the {animal} too.
""",
)

LAB_PLOT = plot(
    "labtalk",
    """
=
- n: {a} and {b} are working in the laboratory. It is {time}.
- n: {a} is writing down numbers, and {b} reads them out.
- n: In the laboratory at {town}, {b} has just weighed sample {id}.
=-
- b: Sample {id}: {x} grams.
- b: I get {x} grams for number {id}.
=-
- a: [That is odd|Are you sure]? Yesterday it was {y}.
- a: {x}? In the book I have {y} for the same sample.
=-
- b: The difference is {z} grams. [That is too much|We cannot leave it like that].
- b: So they differ by {z} grams. [Which one is right|What shall we do]?
=-
- a: [Was the window open|Did you set it to zero|Was the dish clean and cold]?
- a: Let us go through it. [Is the table level|Who used the balance last]?
- a: Weigh it [twice more|again], and I will look at the [level|label].
=-
- b: {labcause.sign}.
- b: [Oh|Wait|Look]. {labcause.sign}.
=-
- a: [There we have it|That explains it]. {labcause.so}.
- a: Then {labcause.so}.
=-
- b: I will {labcause.fix} and start again.
- b: [My mistake|Sorry]. First I will {labcause.fix}.
=-
- a: [Take your time|I will wait]. {labnote}
=-
- b: Now it is {y2} grams.
- b: The new value is {y2} grams, only {z2} away from yours.
=-
- a: Good. [Cross out|Strike out] the {x} with one line, so that it can still be read.
- a: That [fits|agrees]. Write down both, and the reason too.
=-
- b: Should we not [just leave it out|throw the bad page away]?
- b: [It looks untidy|Nobody would know].
=-
- a: No. {saying}. Somebody may need to know.
- a: A book with no mistakes in it is a book that [nobody can trust|somebody has cleaned].
""",
)
LABCAUSE = table(
    "sign so fix",
    """
- The dish is still warm / the air above it rises and lifts the pan / let it cool under the bell
- There is a drop of water under the dish / we were weighing the water as well / dry it with a cloth
- The fan is on / the moving air pushes the pan / switch it off and close the door
- The bubble is not in the middle / the balance is not level / turn the two feet until it is
- The label says {id}, but the lid says something else / two samples have changed lids
  / match them with the list
- Someone has left a hair on the pan / even that makes a difference / brush it off
- It did not show zero at the start / every value is wrong by the same amount / set it to zero
- I forgot to take away the weight of the paper / we must subtract it / weigh the paper alone
- The powder has drawn water from the air / it grows heavier by the hour / dry it once more
- The lamp above us is quite hot / one side of the beam is longer now / move the lamp
""",
)


LABNOTE = table(
    "name",
    """
- Meanwhile I will put the {goods} away, for nobody should eat in here.
- I will make {drink} next door.
- We have until {w:2-6}, and there are only {w:3-30} samples left.
- I will write the labels for the {colour} boxes.
- Shall I open the other window?
- {c} will not need the numbers before {day}.
""",
)


def lab_numbers(rng: Random) -> dict[str, str]:
    """A doubtful weighing, the earlier value, and a repeat that lies close to it."""
    old = rng.randint(1200, 4800)
    gap, near = rng.randint(11, 90), rng.randint(1, 3)
    bad, new = old + gap * rng.choice((-1, 1)), old + near * rng.choice((-1, 1))
    values = {"x": bad, "y": old, "z": gap, "y2": new, "z2": near}
    found = {key: f"{value // 100}.{value % 100:02d}" for key, value in values.items()}
    return found | {"id": str(rng.randint(3, 48))}


PHONE_PLOT = plot(
    "phone",
    """
=
- n: The telephone rings {place.at}. {b} picks it up.
- n: {time}, {a} [calls|rings up] {b}.
=-
- b: [Hello|Good morning]. This is {b} {place.at}.
- b: {b} speaking. [Who is there|What can I do for you]?
=-
- a: [Hello|Good day], this is {a} from {town}. Is {c} there?
- a: It is {a}. I would like to speak to {c} about the {goods}.
=-
- b: I am sorry, {c} has gone {place2.to}. [Can I help|Shall I take a message]?
- b: {c} is not here [today|at the moment]. [May I write something down|Is it urgent]?
=-
- a: [Yes, please|If you would]. The {n:20-90} {goods} that {c} ordered have come.
- a: [Please|Could you] tell {c.him} that the meeting is on {day}, not on {day2}.
- a: The matter is this: {weather.came} here, and the {goods} will be late.
=-
- b: [Wait|One moment], I need a pencil. [Go on|Now then].
- b: The line is bad. Could you [say that again|speak up]?
=-
- a: [I said|So]: I will come on {day} at {w:2-9}, and my number is {n:20-99} {n:10-99} {n:10-99}.
- a: I will wait until {day}. It is best to call before {w:5-9}, at {n:20-99} {n:10-99} {n:10-99}.
=-
- b: [Let me read it back|I have it]. {day}. And your name is {a}?
- b: [Thank you|I have it]. {c} will be back by {w:4-8}.
=-
- a: [Exactly|That is right]. [Thank you|You are very kind]. How is the weather with you?
- a: Yes. And [please|do] greet {d} from me.
=-
- b: This week {season.look}, and {season.cold}. [Goodbye|Until {day}]!
- b: I will. {d} is [well|busy] and has taken up {hobby}. [Goodbye|Take care]!
=-
- n: {b} put the note under the {colour} cup, where {c} would see it.
- n: {c} found the note and was {mood}.
- n: The note fell behind the stove, and {c} read it in {month}.
""",
)

RIDDLE = table(
    "riddle wrong answer because",
    """
- What has teeth but cannot bite? / a very old dog / a comb / it stays in your pocket all day
- What grows shorter while it stands still? / a snowman / a candle / a snowman cannot stand on a
  table
- What goes up when the rain comes down? / the river / an umbrella / the river only comes later
- What has a neck but no head? / a shirt / a bottle / but a shirt is not bad either
- What runs all day and never leaves its bed? / a sick horse / a river / it cannot get up
- What gets wetter the more it dries? / a fish / a towel / you use it after every bath
- What can you catch but not throw? / a train / a cold / half the class has one
- What has hands but cannot clap? / someone shy / a clock / it is telling us that we are late
- What has one eye and cannot see? / a pirate / a needle / it never complains about the thread
- What is full of holes and yet holds water? / my old bucket / a sponge / you washed up with it
  today
- What breaks when you name it? / a secret / silence / you have just broken it
- What follows you by day and leaves you in the dark? / the {animal} / your shadow / it needs light
- What has a bed of stones and a roof of sky? / a camp / a brook / the fish sleep there
- What speaks every language and has no mouth? / a dictionary / an echo / it learned from you
- What can fill a room and weighs nothing? / smoke / light / you only need one lamp
- What has leaves but never grows? / a dead tree / a book / you have forty on the shelf
""",
)
RIDDLE_PLOT = plot(
    "riddles",
    """
=
- n: {a} and {b} are waiting for [{c}|the {public}] {place.at}.
- n: It is {time}, and there is nothing to do but wait.
- n: {b}, {a.his} {b.kin}, likes riddles even more than {hobby}.
=-
- b: [Here is one for you|Listen|I know a new one]. {riddle.riddle}
- b: [Who told you this one|Do you know it]? {riddle.riddle}
=-
- a: [Give me a moment|Let me think|Is it hard]. {riddle.wrong}?
- a: [That is easy|I know]. {riddle.wrong}!
=-
- b: [No|Wrong|Not quite]. Try again[, you have {w:2-5} guesses|].
- b: [Close|Nearly], but no. Shall I tell you?
=-
- a: [Something {colour}|An animal]? I give up.
- a: No, wait. [Is it in this room|Can you eat it]? [All right|Well], tell me.
=-
- b: {riddle.answer}! You see, {riddle.because}.
- b: It is simple: {riddle.answer}. Do not forget, {riddle.because}.
=-
- a: [I should have known|That is too easy]! Now it is my turn. {riddle2.riddle}
- a: [Very clever|Oh no]. Then answer this: {riddle2.riddle}
=-
- b: {riddle2.wrong}? No? Then it must be this: {riddle2.answer}.
- b: [That is an old one|My {c.kin} told me that]. {riddle2.answer}!
=-
- a: [Yes|Right]. {riddle2.because}. [One point each|We are even].
- a: How did you know? You [peeped|have heard it]! [But it is true|Well]: {riddle2.because}.
=-
- n: When {c} came, they were still laughing.
- n: They went on until [supper|the {public}|bedtime] came.
""",
)

CLINIC = table(
    "pain when advice why",
    """
- My wrist hurts / I write all day / Rest it and hold the pen more loosely
  / A tight grip tires the small muscles
- I cannot sleep / I drink coffee after supper / Drink nothing strong after four
  / It stays in the blood for many hours
- My back is stiff / I lift heavy sacks / Bend your knees and keep the load close
  / Legs are made for lifting and backs are not
- My throat is sore / I sing every evening / Be silent for three days and drink warm things
  / Even whispering strains it
- I have a headache / I read by a weak lamp / Get a brighter lamp and look up now and then
  / The eyes have muscles too
- My hands are cracked / I wash bottles all day / Wear gloves and use plain cream at night
  / Soap takes the fat out of the skin
- My knee is swollen / I fell off my bicycle / Put it up and keep it cool / Cold slows the swelling
- I am always tired / I work through lunch / Eat something and walk for ten minutes
  / A rest is part of the work
- My ears ring / the saw in the workshop is loud / Wear ear covers from today on
  / Lost hearing does not come back
- I burned my finger / I touched the hot plate / Keep it under cool water for twenty minutes
  / The heat goes on hurting below the skin
- My nose runs in spring / I walk through the meadow / Wash your hair at night and air the room
  after
  rain / Rain takes the pollen out of the air
- My feet ache / I stand at the counter all day / Move about and change your shoes at noon
  / Standing still is harder than walking
""",
)
CLINIC_PLOT = plot(
    "clinic",
    """
=
- n: {a} the {a.job} has come to see {b}, the doctor in {town}.
- n: On {day} {a} sits in the waiting room. Then {b}, the doctor, [opens the door|calls {a.him} in].
=-
- b: [Good morning|Come in], {a}. What [is the matter|brings you here]?
- b: [Sit down|Take a seat], please. How are you?
=-
- a: {clinic.pain}, and it has been so since {day2}.
- a: Not so well. {clinic.pain}.
- a: {clinic.pain}. My {c.kin} {c} said I should [come|ask you].
=-
- b: When is it [worst|bad]? And what do you do [all day|before it starts]?
- b: [Let me see]. When does it [begin|trouble you], and what do you do at that time?
=-
- a: Mostly {time}. You must know that {clinic.when}.
- a: [Well|Let me think], {clinic.when}.
=-
- b: I see. {clinic.advice}. {clinic.why}.
- b: [Then it is no wonder|That explains it]. {clinic.why}. {clinic.advice}.
=-
- a: [For how long|Is that all]? I had hoped for [a pill|something from a bottle].
- a: Can I still go on with {hobby}?
=-
- b: Do it for {w:5-14} days, and come back if it is no better.
- b: [For now, yes|Yes, for the time being]. And eat {food} and go to bed by {w:8-10}.
=-
- a: [Thank you|I will try]. {c} will be {mood}.
- a: [All right|Good]. {saying}, I suppose.
=-
- n: By {month} {a} was well again.
- n: {a} did as {b} had said, and after {w:4-12} days it was better.
- n: {a} did not do it, and came back in {w:2-4} weeks.
""",
)

LEND_PLOT = plot(
    "lend",
    """
=
- n: {a} knocks at the door of {b}, {a.his} {b.kin}.
- n: {b} is [busy|working] {place.at} when {a} comes by.
=-
- a: Could you lend me your {tool}? I want {tool.job}.
- a: I need {tool.job}. Have you still got that {tool}?
=-
- b: [Of course|Yes]. But what has happened to yours?
- b: The {tool}? {c} had it until {day}. It [must be|is] on the {colour} shelf.
=-
- a: [Mine broke|I left mine out in the rain] in {month}, and I have not seen to it yet.
- a: I never had one. Until now I have used a [stone|kitchen knife|fork] instead.
=-
- b: Do you know how to use it? {tool.care}.
- b: [Only one thing|Promise me this]: {tool.care}.
=-
- a: I [will|promise]. When do you need it back?
- a: [Do not worry|I know that]. My {d.kin} {d} taught me.
=-
- b: By {day2} [would do|at the latest]. I have to help {c} {place2.at}.
- b: Keep it [until {month2}|a week]. I am going to {town} {transport.by}.
=-
- a: Thank you. I will bring it back with [a jar of honey|{food}|some {goods}].
- a: You are a good neighbour. {saying}.
=-
- n: On {day2} the {tool} came back, clean and oiled.
- n: {a} did the work in {w:2-9} hours and was {mood}.
- n: In the end {b} came along to help, and they drank {drink} afterwards.
""",
)
TOOL = table(
    "name job care",
    """
- ladder / to clean the gutter / Set it on firm ground and never stand on the top step
- saw / to cut a shelf / Let it do the work and do not press
- spirit level / to hang a cupboard / Do not drop it, or the glass will crack
- wheelbarrow / to move a heap of gravel / Load it over the wheel and not over the handles
- drill / to put up a hook / Take out the bit before you lay it down
- plane / to ease the cellar door / Lay it on its side, and never on the blade
- spade / to dig over the potato bed / Wipe it dry before you hang it up
- axe / to split some logs / Nobody should stand within three steps of you
- paint brush / to paint the window frames / Wash it before you eat and not after
- preserving pan / to boil down the plums / Do not scrub it with sand
- measuring tape / to plan a chicken run / Do not let it snap back by itself
- crowbar / to lift the old boards / Put a block beneath it to save the wall
- hand cart / to take the {goods} to market / Grease the axle if it squeaks
- soldering iron / to mend a bell wire / Put it back in its stand every single time
- sewing awl / to stitch a torn saddle bag / Push it into cork when you stop
- scythe / to cut the long grass / Keep your feet apart and your dog indoors
""",
)

TALK_TABLES: Tables = {
    "riddle": RIDDLE,
    "clinic": CLINIC,
    "tool": TOOL,
    "labcause": LABCAUSE,
    "labnote": LABNOTE,
}
TALK_PLOTS: list[list[Beat]] = [PLAN_PLOT, PHONE_PLOT, RIDDLE_PLOT, CLINIC_PLOT, LEND_PLOT]
