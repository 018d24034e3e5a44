"""Dialogues: plots whose lines are spoken by ``a:``, ``b:`` or the narrator ``n:``."""

from __future__ import annotations

from random import Random

from corpora.make.english_grammar import Beat, Scene, Tables, plot, table, tidy

WHY = table(
    "ask reply doubt more",
    """
- Why is the sky blue? / Sunlight has all colours in it, and the air throws the blue part about
  the most
  / But in the evening it is red / Then the light comes a long way through the air, and most of the
  blue is lost on the road
- Why do we see our breath in winter? / Your breath is warm and wet, and the cold turns the wet into
  tiny drops / So I am making a cloud? / A very small one, and it rains inside your scarf
- Why does a ship of iron float? / It is hollow, so it pushes aside more water than it weighs
  / And if it fills up? / Then it is only iron again, and down it goes
- Why do onions make me cry? / Cutting them lets out a gas that stings the eyes
  / Can you stop it? / A sharp knife helps, and so does a cold onion
- Why do leaves turn yellow? / The tree takes back the green stuff before winter, and the yellow was
  there below it all the time / Does it hurt the tree? / No, it is more like packing away summer
  clothes
- Why do cats land on their feet? / They twist the front half first and then the back half
  / Even from a chair? / From a very low place there is hardly time enough
- Why is the sea salty? / Rivers wash a little salt out of the rocks and bring it down
  / But rivers are not salty / There is too little in them to taste, but the sea has collected it
  for a very long time
- Why does the moon change its shape? / It does not, but we see more or less of the side that is lit
  / Where is the rest of it? / Still there in the dark, and sometimes you can just make it out
- Why does milk boil over? / A skin forms on top and holds the steam until it lifts everything up
  / What can I do? / Stir it, and do not read while you wait
- Why do we yawn? / Nobody is quite sure, but we do it when we are tired or bored
  / You are yawning now / Yes, it seems to be catching
- Why do wheels have spokes? / They make a wheel strong without making it heavy
  / Why not only three? / The rim would bend in the gaps between them
- Why does the kettle sing? / Small bubbles of steam burst before they reach the top
  / And why does it stop before it boils? / By then the bubbles get all the way up
- Why do birds not fall off the branch asleep? / When they sit down, a cord in the leg pulls the
  toes shut
  / So they need not think of it? / Not at all, they would have to think to let go
- Why does bread have holes? / The yeast makes gas, and the dough holds it like a thousand balloons
  / And who eats the gas? / Nobody, it is air by the time you bite
- Why is metal colder than wood? / It is not, but it takes the heat out of your hand faster
  / It feels colder to me / Put the thermometer on both and see what it says
- Why do we measure three times? / To see whether we can trust the first one
  / And if all three differ? / Then we have learned that something is loose
- Why do stars twinkle? / Their light has to pass through moving air
  / Do they twinkle on the moon? / There is no air there, so they shine quite still
- Why does a ball stop rolling? / The floor and the air rub against it
  / And if there were no floor and no air? / Then it would go on and on
- Why do worms come out in the rain? / It is easier for them to travel when the ground is wet
  / Where do they want to go? / Perhaps only to see the next garden
- Why does ice make a drink cold? / Melting takes heat, and the ice takes it from the drink
  / Then why not use cold stones? / They would help less, because they do not melt
""",
)
WHY_PLOT = plot(
    "why",
    """
=
- n: {a}, who was {w:5-11}, sat {place.at} with {b}.
- n: It was {time}. {a} had been quiet for {w:2-9} minutes.
- n: {weather.came}, so {a} and {b}, {a.his} {b.kin}, [stayed indoors|made {drink}].
=-
- a: [May I ask you something? |I have a question. |Tell me, {b}. |]{why.ask}
=-
- b: [Good question. |Let me think. |Ah. |I asked that too once. ]{why.reply}.
=-
- a: [Really? |Hm. |Wait. |I see. ]{why.doubt}
=-
- b: {why.more}.
- b: [Well. |Hm. |Let me see. ]{why.more}.
=-
- a: I would like to know who [found that out|first asked this].
- a: I will tell {c} [tomorrow|on {day}].
- a: I think I [understand|see]. Can we try it?
- a: Then I have {w:2-9} more questions.
=-
- b: [Good|Very well]. But now [finish|eat] your {food}.
- b: [After supper|On {day2}] we can go on, if you like. {saying}.
- b: [Ask {d}|Write it down]. A good question should not get lost.
""",
)

MARKET_PLOT = plot(
    "market",
    """
=
- n: {a} is buying {goods} from {b} at the market in {town}.
- n: [It is {day}|The sun is up], and {b} has a stall with {goods}.
- n: {a} stops at the {colour} stall of {b}.
=-
- a: Good [morning|day|afternoon]. [What do the {goods} cost|How much are the {goods}] today?
- a: Those {goods} look [fresh|good]. What is the price?
=-
- b: They are {price} coins for a {goods.unit}. They were [picked|brought in] {time}.
- b: A {goods.unit} is {price} coins. You will not find better ones in {town}.
=-
- a: How can I tell that they are good?
- a: Are they fresh? The last ones [were not|did not keep].
- a: [What should I look for|May I touch one]?
=-
- b: They should be {goods.sign}. [See for yourself|Here, take this one].
- b: [Look here|Of course]: {goods.sign}. That is how they ought to be.
=-
- a: Would you take {offer} for each {goods.unit} if I buy {count}?
- a: I need {count}. Can you let me have each {goods.unit} for {offer}?
=-
- b: {offer}! I have [children|a {animal}] to feed. Let us say {deal}.
- b: Not {offer}, but for {count} I can say {deal} each.
- b: You [drive a hard bargain|should be a {a.job}]. {deal}, and that is my last word.
=-
- a: Agreed. {count} times {deal} is {total}. Here is {paid}.
- a: Very well. That makes {total} for {count}, and here you have {paid}.
=-
- b: And {change} back. [Enjoy them|Thank you|Come again on {day2}].
- b: Thank you. {change} is your change. [Greet {c} from me|Mind the step].
=-
- n: {a} went home and made {food}.
- n: Both were {mood}, since {saying}.
- n: On the way home {weather.came}, but the {goods} stayed dry under {a.his} coat.
""",
)


def market_numbers(rng: Random) -> dict[str, str]:
    """A bargain whose price, offer, total and change all fit."""
    price = rng.randint(6, 30)
    offer, count = price - rng.randint(2, 4), rng.randint(2, 6)
    deal = rng.randint(offer + 1, price - 1)
    total = deal * count
    paid = -(-(total + 1) // 10) * 10
    values = {"price": price, "offer": offer, "count": count, "deal": deal}
    values |= {"total": total, "paid": paid, "change": paid - total}
    return {key: str(value) for key, value in values.items()}


WAY_PLOT = plot(
    "way",
    """
=
- n: A stranger stops {a} {place.at} in {town}.
- n: {b} has just come to {town} {transport.by} and is lost.
- n: {time}, {b} meets {a} {place.at}.
=-
- b: [Excuse me. |Sorry to trouble you. |]How do I get {place2.to} from here?
- b: [I am looking for|Can you show me the way to] {place2.the}[, please|]?
=-
- a: Go [straight on|down this road] until you see {place3.the}, then turn [left|right].
- a: Do you see the {colour} [house|tower|roof]? Go past it and take the {nth} street on the
  [left|right].
- a: Cross the [bridge|square|tracks] and follow the [wall|canal|tram line] for {w:2-9} minutes.
=-
- b: [And then|What comes after that]?
- b: [Wait|Slowly], I have {w:2-4} heavy bags to carry. And then?
- b: I went that way, but there was only a [field|fence|closed gate].
=-
- a: After that you will come to [a well|an old oak|a row of shops]. {place2.the} is just behind it.
- a: It is about {w:2-9} hundred metres. If you come to {place4.the}, you have gone too far.
- a: You must take the [narrow|steep|{nth}] lane there, not the wide one.
=-
- b: How long will it take?
- b: Is it far? I must be there by {w:3-9}.
- b: Can one walk there in {n:15-40} minutes?
=-
- a: It is not far. If you get lost, ask for {c} the {c.job}.
- a: [On foot|With a bag], about {w:8-30} minutes. But {transport2.by} it is only {w:2-7}.
- a: Come, I am going {place2.to} [anyway|too]. We can [walk|talk] together.
=-
- b: Thank you[, you are very kind|. {saying}].
- b: [Many thanks|Thanks]. [I hope it does not rain|I should have brought a map].
=-
- n: {b} found {place2.the} [at once|after only one wrong turn].
- n: Later it turned out that {b} was the new {b.job}.
- n: They met again on {day}, and {b} brought {food}.
""",
)

MEND = table(
    "thing wrong ask reason cure",
    """
- watch / runs fast / Do you keep it near the radio? / It has become magnetic / pass it through a
  coil
- kettle / leaks at the spout / Has it ever boiled dry? / The joint has melted a little
  / solder it again
- pair of boots / lets the water in / Do you dry them on the stove? / The heat has cracked the soles
  / sew on new soles
- violin / buzzes on one string / Was it in a cold room? / A seam has come open / glue and clamp it
- coat / has lost its lining / Do you carry stones in the pocket? / The thread was too thin
  / use strong silk
- lock / will not turn in the morning / Does it stand in the damp? / There is rust in the spring
  / clean it and add graphite
- camera / makes blurred pictures / Did you drop it? / The lens sits crooked / set it straight
- bicycle / jumps out of gear / Is it ever left out at night? / The cable has stretched / fit a
  new cable
- lamp / goes off when you touch it / Has anyone shortened the wire? / The wire is loose in its
  screw
  / tighten it and test it
- chair / rocks on the floor / Is it only this floor? / One leg is shorter by a finger / level all
  four
- toaster / burns one side / Do you leave the crumbs in it? / A wire on the other side has
  broken / replace the wire
- telescope / shows two moons / Was it taken apart? / The mirrors are not in line / adjust three
  screws
- accordion / has one silent key / Do you play near the oven? / Flour sits under the key
  / open it and blow it out
- scale / shows too much / Is the table level? / One foot has come off / put on a new foot and
  test it
""",
)
MEND_PLOT = plot(
    "mend",
    """
=
- n: {a} brings a {mend.thing} to the repair shop of {b}.
- n: The bell over the door rings. {a} puts a {mend.thing} on the counter.
=-
- a: [Good morning. |Hello. |]My {mend.thing} {mend.wrong}.
- a: Can you [help|save it]? This {mend.thing} {mend.wrong}, and it belonged to my {a.kin}.
=-
- b: Since [when|what day]?
- b: Let me [see|have a look]. [Hm|Oh yes]. How long has it been like this?
- b: Does it do that [always|all the time] or only now and then?
=-
- a: Since {day}. [Before that it was fine|It began suddenly].
- a: For about {w:2-9} [weeks|days], and mostly {time}.
=-
- b: {mend.ask}
=-
- a: [Yes, why|Perhaps|I am afraid so]. [Is that bad|Was it my fault]?
- a: [I do not think so|No, never]. Well, [once|perhaps {w:2-4} times].
=-
- b: [I thought so|Then it is clear|Look at this]. {mend.reason}. I can {mend.cure}.
- b: [You see|Here it is]: {mend.reason}. It is best to {mend.cure}.
=-
- a: What will it cost, and when [will it be|is it] ready?
- a: Is it [worth it|worth the money]? {c} says a new one would be cheaper.
=-
- b: [About {n:4-30} coins|Not more than {n:8-40}]. Come back on {day2}.
- b: It is good work. I would [keep it|not throw it away]. {n:5-25} coins, by {day2}.
=-
- a: [Fine|Agreed]. I will [bring|pay in] {goods}, if you like.
- a: [Thank you|I am glad]. {saying}, as they say.
=-
- n: On {day2} it was ready, and {a} was {mood}.
- n: {b} tied a {colour} label to it and wrote down {a.his} name.
""",
)

TABLE_PLOT = plot(
    "restaurant",
    """
=
- n: {a} and {b} have come to a small inn in {town} {transport.by}.
- n: It is {day}, and {a} takes {b}, {a.his} {b.kin}, out to eat.
=-
- c: Good evening. [A table for two|By the window or near the stove]?
- c: Come in. There is [{weather} outside|room by the fire]. What may I bring you?
=-
- a: [Near the window|In the corner], please. What is [good|ready] today?
- a: We are [cold|hungry|tired]. What can we have at once?
=-
- c: There is {food}, and there is {food2}.
- c: The cook has made {food} with {goods} from {town2}.
=-
- a: I will have {food}. And you, {b}?
- a: Then {food} for me[, please|]. What would you like, {b}?
=-
- b: [The same|Only some {drink}]. I ate {food2} [before we left|at noon].
- b: I cannot eat {goods}. Could I have {food2}?
=-
- c: [Certainly|Of course]. And to drink?
- c: [Gladly|With pleasure]. We also have fresh {drink}.
=-
- b: {drink}, please. Not too [hot|cold|sweet].
- b: [Just|Only] {drink} for both of us.
=-
- n: They waited {w:5-25} minutes and talked about {hobby}.
- n: The {animal} of the house lay under the table and [hoped|waited].
=-
- a: That was [good|excellent]. [May we have|Could you bring] the bill?
=-
- c: That is {n:9-40} coins. [The {drink} was a gift of the house.|Was it to your taste?]
- c: {n:9-40}, please. You [should|must] come back in {season}.
=-
- b: [Let me pay|This time it is my turn]. You paid in {month}.
- b: Tell the cook that [it reminded me of home|I want the recipe].
""",
)


def speak(scene: Scene, line: str, script: bool) -> str:
    """Set one line as a play script or as quoted speech with a fitting verb."""
    who, _, text = line.partition(": ")
    text = tidy(text)
    if text[-1] not in ".?!":
        text += "."
    if who == "n":
        return text
    name = scene.slot(who)
    if script:
        return f"{name}: {text}"
    style = scene.world.draw("speech", 4)
    if style == 0:
        return f'"{text}"'
    if text.endswith("?"):
        return f'"{text}" asked {name}.'
    if text.endswith("!"):
        return f'"{text}" cried {name}.'
    return f'"{text[:-1]}," {f"{name} said" if style == 1 else f"said {name}"}.'


def converse(scene: Scene, beats: list[Beat]) -> str:
    """Tell a dialogue plot, one line for each turn."""
    world = scene.world
    script = world.draw("script", 2) == 0
    lines = []
    for beat in beats:
        option = beat.options[world.draw(beat.key, len(beat.options))]
        lines.append(speak(scene, scene.expand(option), script))
    return "\n".join(lines)


DIALOGUE_TABLES: Tables = {
    "why": WHY,
    "mend": MEND,
    "nth": [{"name": n} for n in ("first", "second", "third", "fourth")],
}
