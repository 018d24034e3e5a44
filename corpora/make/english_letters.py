"""Letters: thanks, invitations, apologies, orders, complaints, news and notes from work."""

from __future__ import annotations

from random import Random

from corpora.make.english_grammar import Beat, Scene, Tables, plot, table, tell

GIFT = table(
    "thing liked use",
    """
- warm socks / They are just the right size / I wore them when {weather.came}
- book about birds / I have read {w:20-90} pages already / Yesterday I knew a finch by its song
- jar of honey / It tastes of lime trees / We eat it with {food}
- little clock / It ticks so softly / It stands {place.at} and is never late
- paint box / The {colour} is the finest I have seen / I have painted the view from my window for
  you
- wool blanket / It smells of home / The {animal} has already claimed one half of it
- flower bulbs / They arrived safe and dry / They are now in the ground beneath the kitchen window
- pocket lamp / It shines as far as the gate / I can read the thermometer at night without waking
  anyone
- set of chisels / They are sharp enough to shave with / The first thing I made is a spoon, and it
  is
  on its way to you
- recipe book / It is full of notes in your own hand / On {day} I cooked {food} from it
- umbrella / It opens with one finger / On the very first day {weather.came}
- map of the coast / Even the small wells are on it / We found our way to {town2} with it
- flute / It is in tune from top to bottom / I practise {time}, and nobody has complained
- cake / It survived the post / It was gone in {w:3-9} minutes
- seeds of your tall beans / Not one of them was broken / I will sow them when {season} comes
- photograph / You are all laughing in it / It hangs above my desk
""",
)
THANKS_PLOT = plot(
    "thanks",
    """
=
- {town}, {n:1-28} {month}
- {day}, {time}
=+
- Dear {b},
- My dear {b},
=+
- [Thank you|Many thanks|A thousand thanks] for the {gift.thing} that you sent me [last week|for my
  birthday].
- Your [parcel|packet] with the {gift.thing} came on {day2}, [brought|carried in] by {c} the
  {c.job}.
- What a [surprise|joy]! On {day2} I opened the door, and there was your {gift.thing}.
=
- {gift.liked}. {gift.use}.
- {gift.liked}, and I was {mood}. {gift.use}.
=+
- Here in {town} the work goes on. Last week {weather.came}, and {weather.effect}. I am well, though
  a cough kept me indoors for {w:2-5} days.
- You ask how I am. I work as a {a.job}, and in the evening I have taken up {hobby}.
- {d}, whom you will remember, sends greetings. {d.He} has become a {d.job} and also
  sells {goods} at the market.
=?
- When will you visit? We could go {place2.to} and eat {food2}.
- I enclose a [drawing|small bag of {goods}|poem] for the children.
- Please tell me how [the garden|your work|the old {animal2}] is getting on.
=+
- With love, {a}
- Your grateful {a}
- Yours, {a}
""",
)

INVITE_PLOT = plot(
    "invite",
    """
=
- Dear {b},
- Dear {b} and {c},
- Hello {b},
=+
- On {day}, the {nth} of {month}, we [will hold|are having] {feast} {place.at}. [Will you come|Can
  you be
  there]?
- [I write|This is] to invite you to {feast} in {town} on {day}. It begins at {w:3-8}.
- You are [warmly|kindly] invited to {feast}. We meet {place.at} at {w:4-8} on {day}.
=
- There will be {food}, {food2} and plenty of {drink}.
- {d} has promised to make {food}, and I will see to the {drink}.
- Everyone brings something. Could you make your {food}? Nobody does it better.
=+
- You can come {transport.by}, though last time it {transport.slow}. {d} the {d.job} could also
  [fetch|collect] you.
- From the station it is {w:5-20} minutes on foot. Go past {place2.the} and look for the {colour}
  door.
- If you arrive {transport.by}, we will [wait for|meet] you with a lantern.
=
- Bring {weather.wear}, because in {month} you never know.
- If it [rains|should rain], we will simply move [indoors|into the barn].
- Bring your [flute|cards|songs] too, for afterwards there will be music.
=+
- Please let me know by {day2}. [Yours|Your friend], {a}
- We [hope|very much hope] to see you. {a} and {d}
- Send word with {d}. [Until soon|With kind regards], {a}
""",
)
FEAST = table(
    "name",
    """
- a small feast for the new roof
- a supper for {d}, who is leaving for {town2}
- a party for the end of the roof repairs
- a concert of our little choir
- an evening of stories by the fire
- the opening of the new reading room
- a birthday, which will be number {n:18-90}
- a day of work in the school garden
- a talk on {hobby} with pictures
- a tasting of all our {goods}
- the wedding of {c} and {d}
- an open day in the laboratory
""",
)

SORRY = table(
    "did result amend",
    """
- forgot your birthday / You waited, and I did not even call
  / I will take you to {town} on {day}, and the cake is on me
- broke the handle of your spade / I was in a hurry and hit a stone
  / A new one of ash wood is standing at your gate
- lost the book that you lent me / I left it on the {public}
  / I have ordered another and will write your name in it
- let the {animal} into your garden / It ate the whole row of lettuce
  / I bring you {w:10-30} young plants tomorrow
- was so loud on {day} / We sang until two, and the walls are thin
  / Next time we will sing {place.at} and invite you too
- gave you the wrong figures / I read the third line for the second
  / The right ones are below, and I have checked them {w:2-4} times
- did not keep our appointment / I wrote it down for {day2}
  / I could come on {day} at {w:2-9}, if you still want to see me
- spoke to you so sharply / I was {worry} about something else, and you had to hear it
  / It will not happen again
- left the sample out overnight / By morning it had dried up
  / I have asked {c} to collect a new one on {day}
- told {c} your secret / I thought that everybody knew / I have asked {c.him} to keep it as I
  should have
- sent the {goods} a week late / Half of them had spoiled / I will send the same again and ask
  nothing for it
- burned a hole in your table cloth / I put down a hot pan without thinking
  / {c} the {c.job} can mend it so that nobody will see
""",
)
SORRY_PLOT = plot(
    "sorry",
    """
=
- Dear {b},
- {b},
- Dear {b}, [my old friend|my good neighbour],
=+
- I am [very|truly] sorry that I {sorry.did}. {sorry.result}.
- I {sorry.did}, and I want to say [that I am sorry|how much I regret it]. {sorry.result}.
- This is not an easy letter. I {sorry.did}. {sorry.result}.
=
- I could [say|write] that it was because of {weather}, but that would be an excuse.
- I noticed it {time}, and since then I have felt {worry2}.
- {d}, my {d.kin}, told me to write to you at once, and {d.he} was right.
- There is no excuse for it, only a [reason|long story], and you need not hear it.
=+
- {sorry.amend}.
- What can I do? {sorry.amend}.
- I would like to make it good. {sorry.amend}.
=
- You have [helped|trusted] me for {w:2-30} years, and I do not want to lose that.
- I hope that we can drink {drink} together again in {month}.
- If you would rather not answer, I [understand|can wait].
- My {c.kin} used to say that {saying}. Now I know what was meant.
=+
- Yours, {a}
- With [a bad conscience|regret], {a}
- Your friend, {a}
""",
)

ORDER_PLOT = plot(
    "order",
    """
=
- To {b}, {b.job}, {town}
- Dear {b},
- For the attention of {b}, {town}
=+
- Please send me {n1} {goods} and {n2} {goods2} by {day}.
- I would like to order {n1} {goods} and {n2} {goods2}.
- As we [agreed|said] on {day}, I order {n1} {goods} and {n2} {goods2}.
=
- At {p1} coins each for the first and {p2} coins each for the second, I make it {t} coins.
- Your list says {p1} coins for one of the first and {p2} for one of the others, so the total is
  {t} coins.
=
- The money is [enclosed|in the envelope]. {c} will bring it {time}.
- I will pay when they [arrive|are here], as I did in {month}.
=+
- Please see that the {goods} are {goods.sign}, since the last ones [were not|had suffered].
- They should come {transport.by}, and somebody will be {place.at} to receive them.
- Wrap them in [straw|paper|cloth]. In {season} they are easily spoiled.
=
- If you have no {goods2}, send the same number of {goods3} instead.
- A line by [post|return] would be enough for an answer.
- Should [the roads|bad weather|other work] delay you, {day2} will do.
=+
- [Yours truly|With kind regards], {a}, {a.job}
- Respectfully, {a}
""",
)


def order_numbers(rng: Random) -> dict[str, str]:
    """Two items with prices and the sum they come to."""
    n1, n2 = rng.randint(6, 60), rng.randint(6, 40)
    p1, p2 = rng.randint(2, 5), rng.randint(2, 6)
    values = {"n1": n1, "n2": n2, "p1": p1, "p2": p2, "t": n1 * p1 + n2 * p2}
    return {key: str(value) for key, value in values.items()}


COMPLAIN_PLOT = plot(
    "complain",
    """
=
- To the {office}, {town}
- Dear {b},
=+
- I have lived near {place} for {w:2-40} years and have never [complained|written to you] before.
- I must [tell you|complain] about the {public} from {town} to {town2}.
- My name is {a}, and I am a {a.job}. I write about the {public}.
=
- On {day} it {public.slow}, and I was {w:20-90} minutes late.
- Three times in {month} the {public} {public.slow}, and each time {w:5-40} people had to wait.
=
- It was {season2}, {season2.cold}, and there is no roof at the stop.
- {c}, who is {n:70-95}, had to stand while {weather.came}.
- When I asked the reason, I was told to [ask somebody else|read the notice], but there was no
  notice.
=+
- I suggest that you put up a [bench|shelter|clear notice] and [train your people to answer|print
  a true
  timetable].
- A roof and a bench would cost about {n:200-900} coins, as {d} the {d.job} has worked out.
- I do not want my money back. I want [to know why|it to be better].
=
- I would be glad of [an answer|a reply] before {month2}.
- Your driver, by the way, was polite and helpful throughout, and I want you to know that too.
- As my {b.kin} says, {saying}.
=+
- Yours [faithfully|sincerely], {a}
""",
)
OFFICES = table("name", "- town council\n- transport office\n- mayor\n- harbour office")

NEWS_PLOT = plot(
    "news",
    """
=
- {town}, {day2} evening
- From {a} in {town}
=+
- Dear [mother and father|{b}|grandmother|all of you],
=+
- I have arrived. We came {transport.by}, which {transport.slow}, and I was {mood}.
- I have now been here for {w:2-11} weeks, and it feels like [a year|a day].
- Do not worry. I am well, I eat enough, and I sleep {place.at}, where it is quiet.
=
- My room is [small|under the roof], with a {colour} chair and a view of {place2.the}.
- I share a room with {c}, who is learning to be a {c.job} and [snores|sings|never stops talking].
- In the house there are {w:3-9} of us and one {animal}.
=
- In the mornings I [learn|work] with {d}, a {d.job}, who says that {saying}.
- My work begins at {w:5-8}. Yesterday I had to carry {n:20-90} [boxes|bags] of {goods}.
- I am learning to [measure|weigh|sort] {goods}, and only {w:2-8} of them were wrong this week.
=+
- Last {day} {weather.came}, and {weather.effect}. We [stayed in|sat by the stove] and ate {food}.
- On {day} we all went {place3.to}. {c} fell into a ditch, but nothing was hurt except [the
  hat|{c.his}
  pride].
- This week {season.look}, and {season.cold}. Was it the same at home?
=
- Please send me {weather2.wear}, my {colour2} [scarf|cup|book] and some {goods2}.
- How is {d2name}? Has the {animal2} come back? Did the {goods2} [sell|grow] well?
- I have put {w:3-30} coins aside for [the roof|a ticket home|new shoes].
=+
- I will be home in {season2}. Your {a}
- [A kiss to everyone|Greet the whole street from me]. {a}
- Write soon, and write a lot. {a}
""",
)
SISTERS = table("name", "- the baby\n- old Martha\n- uncle Fred\n- little Josef\n- our teacher")

WORK_PLOT = plot(
    "worknote",
    """
=
- Note for {b}, {day}
- To {b}, before you start on {day}
- {b}, please read this first.
=+
- The {labthing} {place.at} [was not working|stopped] {time}. {labthing.fault}.
- I have to tell you about the {labthing}. {labthing.fault}.
- Last night I [checked|cleaned] the {labthing}, and I found something. {labthing.fault}.
=
- {labthing.done}. It has held for {w:2-9} hours so far.
- {labthing.done}, with the help of {c} the {c.job}.
=
- The values from {day2} to today are [doubtful|not safe]; I have marked {w:4-40} of them in
  {colour}.
- All readings before {w:2-9} o'clock are good. The later ones must be [repeated|done again].
- Samples {n:1-9} to {n:10-30} should be measured [once more|again].
=+
- Please [watch|look at] it every {w:2-4} hours and write down what it shows.
- If it happens again, call {d}, who will be {place2.at}.
- Do not [adjust|move] it until I am back from {town}.
=
- The key is under the {colour2} box, and I have left {food} [for you|in the cupboard].
- {saying}, and I have [made a copy|put all of this in the log].
- Fresh labels are in the {nth} drawer.
=+
- Thank you, {a}
- [See you on {day2}|Good luck]. {a}
""",
)
LABTHING = table(
    "name fault done",
    """
- oven / It ran {w:5-20} degrees too hot / I have turned the control back and hung a second
  thermometer inside
- balance / It drifted by {w:2-9} milligrams in an hour / I have moved it away from the window
- pump / There is oil on the floor below it / I have tightened the two screws at the back
- fridge / The door did not close because of ice / I have thawed it and dried the seal
- rain gauge / A leaf was blocking the funnel / I have taken it out and set a wire net over the top
- microscope / There was a scratch on one lens / I have put in the spare one and labelled the old
- water still / It gave only half as much as it should / I have scraped the white crust from the
  heater
- fan / It makes a grinding noise / I have switched it off and opened the upper window
- freezer alarm / It rang {w:2-5} times for no reason / I have put in a new battery
- timer / It loses {w:2-7} seconds each minute / I have laid a wrist watch beside it
- gas tap / I could smell a little gas / I have closed the main valve and aired the room
- printer / It swallowed {w:3-9} sheets / I have pulled them out from the back
""",
)

LETTER_TABLES: Tables = {
    "gift": GIFT,
    "feast": FEAST,
    "sorry": SORRY,
    "office": OFFICES,
    "d2name": SISTERS,
    "labthing": LABTHING,
}
LETTER_PLOTS: list[list[Beat]] = [
    THANKS_PLOT,
    INVITE_PLOT,
    SORRY_PLOT,
    ORDER_PLOT,
    COMPLAIN_PLOT,
    NEWS_PLOT,
    WORK_PLOT,
]


def letter_text(scene: Scene) -> str:
    """One letter of any kind."""
    world = scene.world
    beats = LETTER_PLOTS[world.draw("letter", len(LETTER_PLOTS))]
    if beats is ORDER_PLOT:
        scene.preset.update(order_numbers(world.rng))
    return tell(scene, beats)
