"""Explanations: topic texts, comparisons of materials and short reports with true sums."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from corpora.make.english_facts import FACTS
from corpora.make.english_facts_lab import LAB_FACTS
from corpora.make.english_grammar import Beat, Scene, Tables, items, plot, table, tell, tidy

MATERIALS = table(
    "name source heat water weight use flaw",
    """
- copper / is won from ore / carries heat very well / turns dull and then green in damp air / sinks
  / wires, pots and pipes / is too soft for knives
- iron / is melted out of red or black rock / carries heat well / rusts if it stays wet / sinks
  / nails, rails and stoves / breaks when it is cast too thin
- cork / is the bark of an oak / holds heat back / takes up hardly any water / floats high
  / stoppers, floor tiles and floats / crumbles with age
- glass / is melted from sand / carries heat poorly / is not changed by water / sinks
  / windows, bottles and lenses / breaks when it is struck
- wool / grows on sheep / keeps heat in, even when damp / can hold a third of its weight in water
  / floats until it is soaked / coats, blankets and socks / is eaten by moths
- clay / is dug from the ground / stores heat and gives it back slowly
  / turns soft again unless it has been fired / sinks / bowls, bricks and roof tiles / cracks if it
  dries too fast
- rubber / is the dried juice of a tree / holds heat back / lets no water through / floats, if
  only just
  / tyres, hoses and seals / grows sticky in heat and stiff in cold
- paper / is made from plant fibres / holds heat back when it is folded thick / falls apart when wet
  / floats at first / books, bags and boxes / burns at the touch of a flame
- beeswax / is made by bees / melts in hot water / keeps water out / floats
  / candles, polish and thread / grows soft in the sun
- granite / came up hot from below / carries heat slowly but stores much of it / hardly takes up
  water
  / sinks / steps, bridges and walls / is very hard to cut
- aluminium / is won with much electric power / carries heat well / keeps bright under a thin skin
  / sinks, though it is light / cans, ladders and window frames / bends more easily than steel
- leather / is the tanned skin of an animal / keeps the wind out / stains and stiffens after a
  soaking
  / floats at first / shoes, belts and saddles / needs grease from time to time
- cotton / grows in white balls on a bush / lets heat pass when thin / drinks water quickly
  / sinks once it is wet / shirts, towels and sheets / shrinks in a hot wash
- straw / is the dry stem of corn / holds heat back because it is full of air / rots if it stays wet
  / floats / hats, mats and beds for animals / catches fire easily
- pine wood / comes from a tree that grows fast / feels warm to the hand / swells a little when wet
  / floats / shelves, doors and boats / dents under a thumb nail
- lead / is a grey, heavy metal / melts on a kitchen fire / is safe from rust / sinks like a stone
  / weights and old roofs / is poisonous
- tin / is a soft white metal / melts sooner than most metals / does not rust / sinks
  / a thin coat on steel cans / is weak by itself
- silk / is spun by a caterpillar / keeps the body warm though it is thin / dries quickly
  / floats for a while / scarves, threads and kites / is spoiled by sunlight
- brass / is a mixture of copper and zinc / carries heat well / keeps well in water but loses its
  shine
  / sinks / taps, horns and fine instruments / needs polishing
- slate / splits from the rock in thin sheets / grows hot in the sun / lets rain run off / sinks
  / roofs and old school boards / snaps if you step on it
""",
)
MATERIAL_PLOT = plot(
    "materials",
    """
=
- {mat} and {mat2} are [both old materials|found in nearly every house|easy to tell apart].
- What is the difference between {mat} and {mat2}?
- {a} put a [piece|bit] of {mat} and a [piece|bit] of {mat2} on the table. "[Look at them|Compare
  them]," {a.he} said to {b}.
- In the [workshop|school|museum] at {town} there is a shelf with {mat}, {mat2} and {mat3}.
=
- {mat} {mat.source}, while {mat2} {mat2.source}.
- {mat} {mat.source}. {mat2}, on the other hand, {mat2.source}.
- As [everyone knows|we have read], {mat2} {mat2.source}. {mat} {mat.source}.
=
- {mat} {mat.heat}, but {mat2} {mat2.heat}.
- As for [heat|warmth], {mat} {mat.heat}. {mat2} {mat2.heat}.
- Near a [stove|fire] you notice that {mat} {mat.heat}. {mat2} {mat2.heat}.
=
- In [water|a bucket of water], {mat} {mat.weight} and {mat2} {mat2.weight}.
- When it comes to water, {mat} {mat.water}. {mat2} {mat2.water}.
- {mat} {mat.water}, and that [matters|counts] outdoors. {mat2} {mat2.water}.
- {b} tried both in a {colour} bucket. {mat} {mat.weight}. {mat2} {mat2.weight}.
=
- We use {mat} for {mat.use}, and {mat2} for {mat2.use}.
- That is why {mat} is [chosen|used] for {mat.use}. For {mat2.use}, people [take|choose] {mat2}.
- Look around [the house|your room] and you will find {mat} in {mat.use} and {mat2} in {mat2.use}.
=?
- Nothing is perfect. {mat} {mat.flaw}, and {mat2} {mat2.flaw}.
- The weak point? {mat} {mat.flaw}. {mat2} {mat2.flaw}.
- If you need neither, think of {mat3}. It {mat3.heat}, though it {mat3.flaw}.
=
- The right choice depends on the [job|task|purpose].
- "So which is better?" asked {c}. "[Better for what?"|Tell me the use first,"] said {d}.
- {c} the {c.job} would add that {saying}.
- Try it [yourself|at home] with {w:2-6} small pieces and write down what you [see|find].
""",
)

TOPIC_OPEN = items(
    """
- {a} [asked|wrote to us] about {topic}.
- A short note on {topic}.
- {a} [once gave|gave] a talk about {topic} {place.at}.
- What should a {a.job} know about {topic}?
- Here is what we [learned|were told] in {month} about {topic}.
- "Tell me about {topic}," said {a}, and {b}, who was a {b.job}, did.
- This page is about {topic}.
- The {day} lesson was about {topic}.
"""
)
TOPIC_CLOSE = items(
    """
- {b} the {b.job} told us so, and [we tried it|it is true].
- If you have {w:2-20} minutes, [look for it|try it] {place.at}.
- {a} wrote all of this in a {colour} notebook.
- That is [nearly|almost] all that {a} could remember by {day2}.
- Next [week|time] we will [talk|read] about {topic2}.
- Ask a {c.job}, and you will hear [the same|even more].
- Every {c.job} in {town} knows this, and now you do too.
- {a} said that {saying}.
- The rest can be found in the {colour} book {place.at}.
"""
)


def read_topics(text: str) -> dict[str, list[str]]:
    """Map each ``# title`` to its facts."""
    blocks = [block.partition("\n") for block in text.strip()[2:].split("\n# ")]
    return {title.strip(): items(body) for title, _, body in blocks}


TOPICS = read_topics(FACTS) | read_topics(LAB_FACTS)


def topic_text(scene: Scene) -> str:
    """One topic: its first fact, a choice of the others in order, and a frame."""
    world, titles = scene.world, list(TOPICS)
    index = world.draw("topic", len(titles))
    scene.preset["topic"] = titles[index]
    scene.preset["topic2"] = titles[(index + world.rng.randint(1, 9)) % len(titles)]
    first, *rest = TOPICS[titles[index]]
    count = min(len(rest), world.rng.randint(3, 5))
    picked = [rest[i] for i in sorted(world.rng.sample(range(len(rest)), count))]
    parts = [first, *picked]
    if world.draw("topic-open", 2):
        parts.insert(0, TOPIC_OPEN[world.draw("topic-opener", len(TOPIC_OPEN))])
    if world.draw("topic-close", 2):
        parts.append(TOPIC_CLOSE[world.draw("topic-closer", len(TOPIC_CLOSE))])
    return tidy(" ".join(scene.expand(part) for part in parts))


def one_decimal(tenths: int) -> str:
    """Tenths as a decimal number, so that sums stay exact whole numbers inside."""
    return f"{'-' if tenths < 0 else ''}{abs(tenths) // 10}.{abs(tenths) % 10}"


def pond_numbers(rng: Random) -> dict[str, str]:
    """Temperatures at three depths and their difference."""
    top = rng.randint(140, 245)
    middle = top - rng.randint(15, 40)
    bottom = middle - rng.randint(10, 30)
    values = {"top": top, "middle": middle, "bottom": bottom, "gap": top - bottom}
    return {key: one_decimal(value) for key, value in values.items()}


def rain_numbers(rng: Random) -> dict[str, str]:
    """Rain on four days with the total and the share of the wettest day."""
    days = [rng.randint(1, 9) * 2, rng.randint(11, 24), rng.randint(1, 9), 0]
    rng.shuffle(days)
    share = round(100 * max(days) / sum(days))
    found = {f"r{i}": str(value) for i, value in enumerate(days, 1)}
    return found | {"sum": str(sum(days)), "most": str(max(days)), "share": str(share)}


def seed_numbers(rng: Random) -> dict[str, str]:
    """Seeds that woke in a warm and in a cold dish, of the same number sown."""
    sown = rng.choice((20, 25, 40, 50, 80, 100))
    warm = sown - rng.randint(1, sown // 5)
    cold = rng.randint(1, sown // 2)
    rate = {"wrate": round(100 * warm / sown), "crate": round(100 * cold / sown)}
    counts = {"sown": sown, "warm": warm, "cold": cold, "more": warm - cold}
    return {key: str(value) for key, value in (counts | rate).items()}


def weigh_numbers(rng: Random) -> dict[str, str]:
    """Three weighings and their mean, and the same dish after drying."""
    base = rng.randint(300, 900)
    offset = rng.randint(1, 3)
    lost = rng.randint(20, 200)
    values = {"g1": base - offset, "g2": base + offset, "g3": base, "mean": base}
    values |= {"dry": base - lost, "lost": lost}
    return {key: one_decimal(value) for key, value in values.items()}


def walk_numbers(rng: Random) -> dict[str, str]:
    """A walk whose time, distance and speed fit together."""
    speed, hours = rng.randint(3, 6), rng.randint(2, 5)
    rest = rng.randint(2, 5) * 5
    values = {"speed": speed, "hours": hours, "way": speed * hours, "rest": rest}
    return {key: str(value) for key, value in values.items()} | {
        "total": f"{hours} hours and {rest} minutes"
    }


POND_PLOT = plot(
    "pond",
    """
=
- On a [calm|clear|warm] {day} {a} measured the [pond|lake|reservoir] near {town}.
- {a} and {b} rowed out {time} to measure the temperature of the [lake|pond].
- Report by {a}, [May|June|July|August|September] {n:1-28}. Place: the [pond|lake] below {place}.
=
- At the surface the water had {top} degrees, at one metre {middle}, and at two metres {bottom}.
- The thermometer on a {colour} string showed {top} degrees on top, {middle} degrees half way down
  and
  only {bottom} degrees at the bottom.
=
- So the difference between top and bottom was {gap} degrees.
- From top to bottom it fell by {gap} degrees.
- It was {gap} degrees colder at the bottom, [which surprised {b}|as {b} had expected].
=
- Warm water is lighter and [stays|floats] above the cold.
- The sun heats the upper layer, and without wind the layers do not mix.
- {b} asked why the fish stayed low. "Cool water holds more [air|oxygen]," said {a}.
=
- They will [measure again|come back] in {season}, when the wind has stirred it.
- Each value was read {w:2-5} times, and {saying}.
- {a} [washed|dried] the instrument, put it back in its case and [drank|poured] some {drink}.
""",
)
RAIN_PLOT = plot(
    "rainreport",
    """
=
- {a} reads the rain gauge {place.at} every morning at [six|seven|eight].
- For four days in {month}, {a} the {a.job} measured the rain in {town}.
- "How much rain did we have?" asked {b}. {a} opened the {colour} notebook.
=
- On the four days it showed {r1}, {r2}, {r3} and {r4} millimetres.
- The entries were {r1} millimetres, then {r2}, then {r3}, and {r4} on the last day.
=
- That makes {sum} millimetres in all.
- Together this is {sum} millimetres, or {sum} litres on every square metre.
=
- The wettest day brought {most} millimetres, about {share} percent of the total.
- More than one third, and in fact {share} percent, came on a single day with {most} millimetres.
=
- One day stayed dry, and {a} wrote a zero, because an empty [line|space] would mean that nobody had
  looked.
- On the dry day {b} thought that there was nothing to write. But a zero is a [value|result] too.
=
- After that, {weather.came}, and {weather.effect}.
- {b} [needs|wants] the numbers to decide when to [water|sow] the {goods}.
- The gauge stands {w:3-9} metres from the nearest [wall|tree], so that nothing keeps the rain off.
""",
)
SEED_PLOT = plot(
    "seedreport",
    """
=
- {a} wanted to know whether warmth helps {goods.one} seeds to wake.
- The question came from {b}, a {b.job}: why do my {goods} come up so late?
- In {month} the class of {a} made a test with {goods.one} seeds.
=
- {a.He} laid {sown} seeds on wet paper in a warm room and {sown} more in a cold [shed|cellar].
- Two dishes were used, with {sown} seeds in each. One stood by the [stove|window], the other in the
  [cellar|shed].
=
- After {w:5-12} days {warm} had woken in the warm dish, but only {cold} in the cold one.
- The count on {day} was {warm} in the warm dish and {cold} in the cold dish.
=
- That is {wrate} percent against {crate} percent.
- The warm dish was ahead by {more} seeds, {wrate} percent to {crate}.
=
- Light, water and paper were the same for both, so [only the warmth|nothing but the warmth] can
  be the
  reason.
- "Is it not the light?" asked {c}. "No, both had a [lid|cover]," said {a}.
- The cold seeds were not dead. When they were moved to the warm room, {w:2-9} of them woke [within
  days|by {day2}].
=
- {a} will repeat it [next year|with {goods2.one} seeds], since one test is [only a start|not
  enough].
- {b} now waits until {month2} before sowing, and says that {saying}.
- The dishes were labelled in {colour} ink, [which ran a little|so that nobody mixed them up].
""",
)
WEIGH_PLOT = plot(
    "weighreport",
    """
=
- {a} weighed a dish of wet [soil|sand|clay|sawdust] from {place} three times.
- How much water is in [soil|clay|sand|flour]? {a} and {b} used the balance to find out.
- On {day}, {b} brought a jar of [garden soil|river sand|peat] {place.to} and asked how wet it was.
=
- The readings were {g1}, {g2} and {g3} grams.
- The balance showed {g1} grams, then {g2} grams, and at last {g3} grams.
=
- The mean is {mean} grams.
- Added up and divided by three, they give {mean} grams.
=
- Then the dish stood in the oven at {n:100-105} degrees for {w:6-24} hours.
- {b} dried it overnight in a [slow|warm] oven and let it cool under a [lid|glass bell].
=
- After that it weighed {dry} grams, so {lost} grams of water had gone.
- Dry, it came to {dry} grams. The water that had left weighed {lost} grams.
=
- To be sure, it was dried for one more hour, and the weight did not change.
- "Why must it cool first?" asked {c}. "A warm dish makes air rise and seems [lighter|too light]."
- {a} noted the [date|hour], the number of the dish and the name of the [balance|oven].
- {b} had guessed {w:2-90} grams and was [glad|pleased|happy] to know [better|the true value].
""",
)
WALK_PLOT = plot(
    "walkreport",
    """
=
- {a} walked from {town} to {town2} in {season}.
- How fast do we walk? {a} tested it on the road from {town} to {town2}.
- {a} and {b} had an argument about [speed|walking], so they went from {town} to {town2} with a
  watch.
=
- The way is {way} kilometres long, and it took {hours} hours without the rest.
- {a.He} needed {hours} hours for the {way} kilometres.
=
- So the speed was {speed} kilometres in an hour.
- {way} divided by {hours} is {speed}, so {a.he} made {speed} kilometres each hour.
=
- A rest of {rest} minutes for {food} made it {total} in all.
- With a stop of {rest} minutes to [look at the view|dry the socks], the whole trip took {total}.
=
- Uphill it was slower, and downhill a little faster, but the mean is what [counts|we asked for].
- {b} went [part of the way|the same way] {transport.by}, which {transport.slow}, and was hardly
  faster.
- {weather.came} on the way, and {weather.effect}.
=
- A map, a watch and a [pencil|notebook] were all the instruments that {a.he} needed.
- "Next time I will carry less," said {a}, and [sat down|took off one boot].
- "{saying}," said {b}, and [made|ordered] {drink} for both.
""",
)

Numbers = Callable[[Random], dict[str, str]]
REPORTS: list[tuple[Numbers, list[Beat]]] = [
    (pond_numbers, POND_PLOT),
    (rain_numbers, RAIN_PLOT),
    (seed_numbers, SEED_PLOT),
    (weigh_numbers, WEIGH_PLOT),
    (walk_numbers, WALK_PLOT),
]


def report_text(scene: Scene) -> str:
    """A short report whose figures agree with each other."""
    numbers, beats = REPORTS[scene.world.draw("report", len(REPORTS))]
    scene.preset.update(numbers(scene.world.rng))
    return tell(scene, beats)


def material_text(scene: Scene) -> str:
    """A comparison of two materials."""
    return tell(scene, MATERIAL_PLOT)


EXPLAIN_TABLES: Tables = {"mat": MATERIALS}
