"""Hand-written explanations and how-to texts."""

from __future__ import annotations

EXPLAIN_TEXTS: dict[str, str] = {}

EXPLAIN_TEXTS["explain-01.md"] = """
# Where the rain goes

After a shower the street is wet, and an hour later it is dry. Where has the water gone? Some of it
ran into the drain. Some of it rose into the air again, although nobody saw it go. And some of it
sank into the ground between the stones. These three ways are open to every drop that falls, and
the whole story of rivers, wells and floods depends on how many drops take which of them.

On a roof or a paved yard almost all the rain runs off. On a meadow hardly any does. The grass
slows the water down, the roots keep the soil open, and the tunnels of worms lead it into the deep.
You can test this with a watering can. Pour ten litres onto a bare, hard path and watch how soon
the first water arrives at the lower end. Then pour ten litres onto thick grass beside it. Most
likely nothing will arrive at all.

Water that has sunk in does not stay where it is. It moves downward, slowly, through the gaps
between the grains. In gravel it may travel many metres in a day, in sand one or two, and in clay
not as much as the width of a hand in a year. Where it meets a layer that it cannot pass, it
collects, and that is the water we draw from wells.

Part of it comes out again at the foot of a hill. A spring that runs in August is fed by rain and
snow of the winter before. This is why a river does not dry up as soon as the rain stops. The
ground acts like a savings bank: it takes in what falls on wet days and pays it out on dry ones.
When we cover a valley with asphalt, we close the bank. Then every storm brings a flood, and every
dry month brings an empty river.

## How we know

A hundred years ago, people in many places began to measure. They set a gauge for rain on the hill
and a board with marks in the river. Day after day somebody wrote the numbers down. If twenty
litres fell on each square metre, and the river carried away only five, then fifteen must have gone
into the air or into the ground. It is like the account of a shop. What comes in must go out, or it
must still be there.

# Why the wind blows at the seaside

Anyone who has spent a summer by the sea knows this. In the morning the air is still. Towards
eleven a light breeze comes in from the water, and in the afternoon it is strong enough to fill a
sail. In the evening it dies down, and late at night there may be a faint wind the other way, from
the land.

The reason is that land and water do not warm up equally fast. The sun heats only a thin layer of
sand, and so the sand becomes too hot for bare feet. In the sea the same heat is spread over many
metres of depth, and besides, water needs much more heat than sand for each degree. So by noon the
land is warm, and the sea is nearly as cool as it was at dawn.

Warm air is lighter than cool air. It rises over the land, and air from the sea moves in to take
its place. That is the breeze. High above, the air flows back and sinks over the water, so that
there is a great wheel of air, turning slowly, with its lower edge on the beach. At night the land
gives up its heat, while the sea keeps what it has. Then the wheel turns backwards.

You can build a small copy in a kitchen. Stand a bowl of ice and a bowl of hot sand next to each
other in a glass box, and hold a smoking stick between them. The smoke drifts along the bottom from
the ice to the sand, climbs, and returns at the top. It is the same wheel, a million times smaller.
"""

EXPLAIN_TEXTS["explain-02.md"] = """
# Reading an instrument

An instrument does not tell the truth. It tells a number, and it is our task to find out how close
that number is to the truth. This sounds like a game with words, but whoever has worked in a
laboratory for some time knows how serious it is.

Take a plain kitchen scale. It shows 250 grams. Lift the bag and put it back, and now it shows 251.
Which of the two is right? Perhaps neither. The bag was a bit further to the left, the spring had
not come to rest, or you read the pointer from the side. A second reading costs five seconds, and
it tells you how far you may trust the first. If ten readings lie between 249 and 252, it is wise
to say "about 250, give or take two". It is not wise to say "250.4", even if a computer prints it.

There is another kind of error, and it is worse, because you cannot see it by repeating. Suppose
the pointer stands at 5 when nothing is on the scale. Then every reading is too high by five grams,
and they all agree with each other beautifully. Ten clocks that have been set by the same wrong
clock do not make the hour right. Against this only one thing helps: compare with something that
you know. Put a weight on the scale that has been checked elsewhere. Hold the thermometer in
melting ice. Measure a rod whose length you have been told by someone you trust.

So a good reading has three parts. There is the number, there is the unit, and there is an honest
word about the doubt. A careful worker adds a fourth: the date, the instrument and the name of the
one who read it. All of this takes less than a minute. To find out later what "7.2" on a loose
sheet of paper once meant can take a week.

# What dissolves, and what only seems to

Stir a spoon of sugar into a glass of water, and it is gone. Stir in a spoon of flour, and the
water turns white. Wait for an hour. The sugar is still gone, but the flour lies on the bottom.
What is the difference?

Sugar dissolves. Its smallest parts leave the crystal one by one and spread among the parts of the
water, until every drop of the liquid is equally sweet. They are far too small to be seen and too
small to be held back by a paper filter. Flour does not dissolve. Its grains are large, and they
only float about for a time, like dust in the air.

How much will dissolve depends on the heat. A cup of cold water takes two cups of sugar at most,
and a cup of boiling water takes more than four. When such a syrup cools, there is more sugar in it
than it can hold, and the rest comes out again as crystals. Table salt behaves differently. Hot
water takes up hardly more of it than cold water does. So if you want salt crystals, you must not
wait for the water to cool but for the water to leave.

Gases go the other way round. The colder the water, the more gas it can hold. That is why a bottle
of soda foams over when it has been standing in the sun, and why trout live in cold brooks, where
there is plenty of oxygen for them.

Is something dissolved or not? There is a simple test. Shine a torch through the glass in a dark
room. If the liquid is a true solution, you cannot see the beam from the side. If there are fine
grains in it, the beam shows up as a bright path. Try it with salt water, and then with a single
drop of milk.
"""

EXPLAIN_TEXTS["explain-03.md"] = """
# What soil is made of

Take a handful of earth from the garden. About half of it is mineral: sand, silt and clay, ground
from rock by frost, water and time. A quarter is water, which clings to the grains. Nearly a
quarter is air. What remains, some three or four parts in a hundred, was once alive or still is.
This small part decides whether the soil is poor or rich.

Sand grains are large enough to be seen. Between them there are wide gaps, through which water runs
quickly. Clay grains are a thousand times smaller and flat like playing cards. Water is held
between them so firmly that plants can take only part of it. Silt is in the middle. Farmers like a
mixture of all three, and they call it loam. You can recognize it with your fingers. Wet a little
and roll it. Sand will not roll at all. Clay can be rolled as thin as a pencil and bent into a
ring. Loam makes a sausage, but breaks when you bend it.

The dark colour at the top comes from dead leaves and roots that have rotted. This material, called
humus, glues the grains together into crumbs. There is room for air and water between the crumbs,
and inside them there is a store of food. If you drop a dry crumb into a glass of water and it
holds together, the soil is in good health. If it falls to mud at once, the next heavy rain may
carry it off.

In one spoon of such soil there live more tiny beings than there are people in a large country.
Most of them are useful, many are unknown, and all of them are hungry. They turn a fallen leaf into
food for the next one. It takes nature several hundred years to build as much soil as the width of
a thumb. One careless season can wash it away.

# How a market finds its price

On market days forty people sell vegetables in the square, and perhaps a thousand come to buy.
Nobody tells them what a cabbage must cost. Yet by ten in the morning the price is almost the same
at every stall. How does this happen?

Imagine that Mrs. Park asks for three coins while all the others ask for two. People look at her
cabbages and walk on. By noon she still has a full cart, so she goes down to two. Now imagine that
Mr. Olsen asks for only one coin. There is a crowd at his stall, he is sold out by eight, and he
sees that the crowd then goes to his neighbour and pays two without grumbling. Next week he will
ask for more. Step by step the high prices come down and the low ones go up.

After a late frost there are few cabbages. The sellers notice that they are sold out early, and
they raise the price. Some buyers now take carrots instead. Others buy half a cabbage. In this way
the small harvest goes round. In a good year it is the other way about: there are so many cabbages
that nobody wants to carry them home again, and towards evening they cost next to nothing.

A price, then, is a kind of message. It tells the farmer what is wanted and the cook what is
plentiful, and neither has to ask the other. But the message is only true if the scales are honest,
if people can walk from stall to stall and compare, and if no one can forbid another to sell. That
is why even the freest market has a clerk with a set of weights and a rule book. He does not fix
the price. He only makes sure that a pound is a pound.

# Why bread rises

Flour, water, salt and a little yeast: nothing in this list looks as if it could lift a lid. Yet if
you leave the dough in a covered bowl in a warm kitchen, it will be over the edge by the time you
come back.

When flour is wetted and kneaded, a part of it joins up into long, stretchy threads. They cross
each other in all directions and make a net. Bakers test it by pulling a piece of dough between
their fingers. If it can be drawn out into a thin skin through which light shines, the net is
ready.

Meanwhile the yeast has begun to feed. It takes sugar from the flour and gives off gas. The gas
cannot escape, because it is caught in the net, and so the dough fills with bubbles like a sponge.
In the oven the bubbles grow, since gas needs more room when it is hot. Then the net sets hard, the
crust closes, and the shape is fixed.

If the loaf is flat, it is easy to see where to look. Old yeast makes no gas. Poor kneading makes
no net. An oven that is too cool lets the bubbles burst before the walls are firm. Each of the
three gives another kind of bad bread, and an experienced baker can tell which it was by cutting
the loaf in two.
"""

EXPLAIN_TEXTS["howto-01.md"] = """
# How to keep a notebook that others can use

You need a bound book with numbered pages, a pen that does not run when it gets wet, and a clock.

1. Write your name and the date of the first entry on the cover. If the book is lost, the finder
must know where to bring it.
2. Keep the first two pages free for a list of contents. You will be glad of it in a year.
3. Begin each day with the date, the place and the names of those who are present.
4. Write what you want to find out before you start. One sentence is enough. If you cannot say it
in one sentence, you are not ready.
5. Write while you work and not in the evening. In the evening you remember what should have
happened.
6. Give every number its unit. A bare number is worth nothing.
7. If you make a mistake, cross it out with a single line and put the date beside it. Do not use a
rubber, and never tear out a page.
8. Draw the apparatus. A bad drawing is better than a good description.
9. Glue in every printed strip and sign across the edge, half on the strip and half on the page.
10. Close the day with one line about what you would do next.

A test: give the book to a friend and ask what you did last Thursday. If the friend can tell you,
and could do it again, then it is a good notebook.

# How to clear a blocked sink

Before you call anyone, try the following. It costs nothing, and it works two times out of three.

Put a bucket under the bend of the pipe. Take out the plug and block the overflow with a wet rag.
Then fill the sink until the water stands a hand high, set a rubber plunger over the drain and move
it up and down ten times, hard and without lifting it off the bottom. Pull it away with a jerk.
Often the water runs off with a gurgle, and you are done.

If it does not, unscrew the bend by hand. The ring turns to the left. Dirty water will rush out,
and this is the moment when you will be glad of the bucket. Clean the bend with an old brush,
outdoors if you can. Look into the pipe in the wall as well. A bent wire will bring out what is
stuck there: hair, mostly, or a spoon.

Put the seal back in its groove, screw the ring tight with your fingers, and let the water run for
a minute. Wipe the joint with dry paper. If the paper stays dry, you have mended it.

# How to light a fire in a stove

Dry wood, air and patience are all that a fire asks for. Open the damper first, and then the little
door at the bottom. Lay two split logs side by side, with a gap as wide as two fingers. Over the
gap lay thin sticks crosswise, one layer and then another. On top of it all place a handful of wood
shavings.

Light it from above. This seems wrong to most people, but the flame then eats its way down, and the
smoke has to pass through it and is burned. After ten minutes, when the large logs have caught,
close the lower door half way. Add wood when the flames grow short, one log at a time. Never shut
off the air as long as you see flames, because a fire that cannot breathe makes a gas that you
cannot smell and that can kill.
"""

EXPLAIN_TEXTS["howto-02.md"] = """
# How to cook a meal for twelve with one stove

The trick is not to cook fast. The trick is to decide, the day before, what can be done early and
what must be done late.

Soup can wait, and it even gets better. Make it in the morning. Bread can be baked the evening
before. A salad can be washed and dried at noon and kept under a damp cloth, but it must not meet
the dressing until people are seated. Potatoes keep hot for half an hour in a pot wrapped in a
blanket. Fish does not wait for anyone, so do not serve fish.

- The day before: buy everything, bake the bread, soak the beans, count the plates.
- In the morning: cook the soup, wash the salad, lay the table.
- Two hours before: peel the potatoes and put them in cold water. Bake the apples.
- One hour before: boil the potatoes, wrap up the pot, warm the soup on the free flame.
- When the bell rings: take off your apron. The cook should be sitting down before the soup is
cold.

If something burns, say so and laugh. Guests remember the laugh longer than the taste.

# How to find your way without a compass

In the northern half of the world, the sun stands in the south at noon. So if you know the hour,
you know a direction. Hold your watch flat and turn it until the short hand points at the sun. Half
way between that hand and the twelve lies the south. In summer time, use the one and not the
twelve.

At night look for the seven bright stars that are shaped like a pan with a bent handle. Join the
two stars at the end of the pan and carry on the line five times as far. You come to a star that is
not very bright but stands nearly alone. It stays in its place while all the others turn, and below
it lies the north.

When there is neither sun nor star, it is harder. Moss is not to be trusted, whatever people say,
for it grows wherever it is damp. Better signs are trees on open hills, which lean away from the
strongest wind, and the snow in spring, which melts first on southern slopes. And best of all is a
brook. It may not lead you where you want to go, but it leads downhill, and people live downhill.

# How to measure the height of a tree

Cut a stick that is exactly as long as your arm, from the fist to the eye. Hold it upright in your
fist with your arm straight out. Walk backwards from the tree until the tip of the stick covers the
top of the tree and your fist covers the foot of it. Stop there. You are now as far from the tree
as the tree is high. Measure the distance with steps.

Why does it work? Your arm and the stick are two equal sides of a small triangle. The ground and
the tree are two sides of a large triangle with the same shape. If the sides of the small one are
equal, then so are the sides of the large one. The ground should be level, of course. If it slopes,
do it twice, once from above and once from below, and take the mean.

# How to pack glass for the post

Every glass must be unable to touch another glass, and unable to touch the box. Stuff paper inside
each one first, because glass breaks inward more easily than outward. Wrap it in three sheets,
rolling it from corner to corner and tucking in the ends. Stand it upright. A glass that stands
will bear four times the load of one that lies.

Put two fingers of crushed paper on the bottom of the box, then the glasses, then paper into every
gap, and then two more fingers on the top. Close the box and shake it. If you can hear anything,
open it and add more paper. Write the word "glass" on all sides. It does not help much, but it does
no harm. What helps is to pack it as if nobody could read.
"""
