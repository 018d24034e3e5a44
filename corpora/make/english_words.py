"""Shared word lists: people, places, seasons, weather, goods and small qualities."""

from __future__ import annotations

from corpora.make.english_grammar import Tables, table, words

NAMES_F = words(
    """Mina, Ada, Rosa, Lena, Ivy, Nora, Clara, Ruth, Hana, Greta, Olive, Tess, Maya, Dora,
    Ines, Kate, Wanda, Joan, Edith, Lucy, Anna, Petra, Sana, Alma, Vera, Bella, Molly, Zoe,
    Farah, Elsa"""
)
NAMES_M = words(
    """Tom, Omar, Felix, Ben, Karl, Hugo, Samir, Peter, Noah, Jonas, Ravi, Luke, Oscar, Marco,
    Henry, Ned, Paul, Anton, Ivan, Leo, Arthur, Daniel, Victor, Sam, Bruno, Adam, Eric, Yusuf,
    Walter, Simon"""
)
KIN_F = words("aunt, sister, grandmother, cousin, niece, mother, neighbour, old friend")
KIN_M = words("uncle, brother, grandfather, cousin, nephew, father, neighbour, old friend")
JOBS = words(
    """baker, teacher, gardener, carpenter, nurse, farmer, tailor, bus driver, potter, clerk,
    miller, cook, fisher, painter, shopkeeper, librarian, mechanic, weaver, postal worker,
    watchmaker, beekeeper, plumber, surveyor, chemist, shepherd, engineer, printer, welder,
    ferry pilot, laboratory assistant"""
)

# "at" is the phrase for being there, "to" for going there.
PLACES = table(
    "the at to",
    """
- the market / at the market / to the market
- the old mill / at the old mill / to the old mill
- the harbour / down at the harbour / down to the harbour
- the school / at the school / to the school
- the library / in the library / to the library
- the bakery / in the bakery / to the bakery
- the railway station / at the railway station / to the railway station
- the workshop / in the workshop / to the workshop
- the hill farm / at the hill farm / up to the hill farm
- the orchard / in the orchard / out to the orchard
- the village hall / in the village hall / to the village hall
- the river bank / on the river bank / down to the river bank
- the garden / in the garden / out into the garden
- the clinic / at the clinic / to the clinic
- the post office / at the post office / to the post office
- the lighthouse / at the lighthouse / out to the lighthouse
- the brick yard / in the brick yard / over to the brick yard
- the greenhouse / in the greenhouse / to the greenhouse
- the boat shed / in the boat shed / to the boat shed
- the town square / in the town square / to the town square
- the weather station / at the weather station / up to the weather station
- the laboratory / in the laboratory / to the laboratory
- the dairy / at the dairy / to the dairy
- the bridge / near the bridge / as far as the bridge
""",
)
TOWNS = words(
    """Millford, Ashby, Northport, Stonebridge, Willow Bay, Redhill, Fernley, Oakham, Saltmouth,
    Greenfield, Lowick, Harrow End, Marlow Ferry, Kingsdale, Thornbury, Eastcliff, Brackenside,
    Port Elder, Highmoor, Cedar Falls"""
)
# "clime" keeps snow out of midsummer: rows marked warm and cold do not meet.
SEASONS = table(
    "name look work cold clime",
    """
- spring / the hedges were turning green / the first seeds went into the ground
  / the mornings were still fresh / any
- summer / the fields lay yellow in the heat / the hay was cut and carried in
  / even the nights were warm / warm
- autumn / leaves blew along the lanes / the apples were picked and stored
  / the evenings drew in early / any
- winter / snow lay on every roof / people mended tools indoors / ice covered the pond / cold
- late spring / the orchards stood in bloom / the beans climbed their poles
  / the evenings were mild / warm
- early autumn / mist hung over the river / the grapes were ready / the nights grew cool / warm
- late winter / the first snowdrops showed / the sheep waited for new grass
  / the wind was still sharp / cold
- midsummer / the bees worked until dark / the cherries were ripe / it never grew quite dark
  / warm
""",
)
# Each kind of weather with what it does, so that later sentences can follow from it.
WEATHER = table(
    "name came effect wear clime",
    """
- rain / rain began to fall / the paths turned to mud / a raincoat / any
- fog / a thick fog rolled in / nobody could see the far bank / something bright / any
- snow / snow started to fall / the steps were soon white and slippery / warm boots / cold
- a strong wind / a strong wind got up / loose tiles rattled on the roofs / a tight cap / any
- heat / the day grew very hot / dogs lay panting in the shade / a straw hat / warm
- frost / a hard frost came down / the puddles froze from edge to edge / thick gloves / cold
- a thunderstorm / a thunderstorm broke / the street ran like a stream / good shoes / warm
- hail / hail came rattling down / the young leaves were torn / a hard hat / any
- drizzle / a fine drizzle set in / every spider web was hung with drops / a wool coat / any
- bright sun / the sun came out / wet roofs began to steam / a light shirt / any
- an icy wind / an icy wind swept down the valley / every breath turned white / a fur cap / cold
- a warm shower / a warm shower came over the hill / children danced in the puddles
  / sandals / warm
""",
)
TIMES = words(
    """early in the morning, just after sunrise, at noon, late in the afternoon, after supper,
    before breakfast, at dusk, around nine o'clock, shortly before lunch, towards evening,
    in the middle of the morning, at half past two, at closing time, at first light"""
)
DAYS = words("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday")
MONTHS = table(
    "name clime",
    """
- January / cold
- February / cold
- March / any
- April / any
- May / warm
- June / warm
- July / warm
- August / warm
- September / warm
- October / any
- November / any
- December / cold
""",
)
COLOURS = words(
    "red, blue, green, yellow, brown, grey, white, black, orange, purple, pale green, dark blue"
)
# What a stall sells: the plural, the unit, and how a careful buyer judges it.
GOODS = table(
    "name unit sign one",
    """
- apples / kilo / firm and free of bruises / apple
- pears / kilo / soft only near the stalk / pear
- onions / bag / dry outside and heavy in the hand / onion
- potatoes / sack / smooth, with no green skin / potato
- eggs / dozen / clean, and they sink in water / egg
- tomatoes / box / red all over but not soft / tomato
- carrots / bunch / crisp enough to snap / carrot
- plums / basket / dusty blue and sweet at the stone / plum
- lemons / net / heavy for their size / lemon
- walnuts / bag / sealed, with no rattle / walnut
- cabbages / crate / tight and squeaky / cabbage
- mushrooms / tray / pale and dry underneath / mushroom
- peppers / box / shiny, with green stems / pepper
- beans / kilo / thin and bright / bean
- cherries / basket / dark, with the stalks still on / cherry
- pumpkins / cart / hollow when you knock on them / pumpkin
- melons / crate / sweet to smell at one end / melon
- radishes / bunch / hard, with fresh leaves / radish
- chestnuts / bag / glossy and full / chestnut
- beetroots / sack / small and round / beetroot
""",
)
FOODS = words(
    """bread and cheese, bean soup, a pot of rice, potato pancakes, baked apples, warm milk,
    lentil stew, a slice of plum cake, fried eggs, noodles with cabbage, barley porridge,
    mushroom pie, toast and honey, fish cakes, a bowl of plums, ginger biscuits, onion tart,
    vegetable curry, roast chestnuts, pea soup"""
)
DRINKS = words(
    """tea, coffee, hot chocolate, lemonade, apple juice, mint tea, ginger tea, cold water,
    warm milk"""
)
TRANSPORT = table(
    "name by slow",
    """
- bus / by bus / stopped at every corner
- train / by train / waited twenty minutes at a signal
- ferry / by ferry / turned wide around a sandbank
- bicycle / by bicycle / had a slow leak in one tyre
- cart / in a farm cart / crawled behind a flock of sheep
- tram / by tram / stood still during a power cut
- rowing boat / in a rowing boat / fought the current
- van / in a borrowed van / would not start on the hill
""",
)
# The ones that a passenger may complain about.
PUBLIC = [row for row in TRANSPORT if row["name"] in ("bus", "train", "ferry", "tram")]
MOODS = words(
    """glad, proud, tired but happy, calm, a little surprised, grateful, relieved, cheerful,
    satisfied, quiet and thoughtful, pleased, hopeful"""
)
WORRIES = words(
    """worried, cross, upset, puzzled, ashamed, nervous, annoyed, troubled, uneasy, gloomy,
    close to tears, at a loss"""
)
ANIMALS = words(
    """dog, cat, goat, donkey, hen, duck, pony, goose, lamb, calf, rabbit, parrot"""
)
HOBBIES = words(
    """fishing, chess, singing, drawing birds, growing roses, baking, running, collecting stones,
    playing the flute, reading old maps, sewing, making kites, watching stars, carving wood,
    keeping bees, swimming, writing poems, repairing clocks"""
)
SAYINGS = words(
    """slow work lasts, a shared load is lighter, it pays to look twice before you cut once,
    a small leak can sink a boat, good tools deserve good care, a question costs nothing,
    patience is cheaper than repair, every mistake is a lesson paid for, what you write down
    today you can trust tomorrow, the easy way is often the long way, kind words travel far,
    a dry match is worth ten wet ones, neighbours are the nearest help, the first try is
    rarely the last, it is wise to listen before you answer, what is counted is kept,
    a clean bench makes a clear head, nobody is too old to learn, the best time to begin is
    now, a map is no use in the drawer, half a truth is no help, little streams make rivers,
    hunger is a good cook, an open door costs no money, tomorrow is another day"""
)

TABLES: Tables = {
    "name_f": NAMES_F,
    "name_m": NAMES_M,
    "kin_f": KIN_F,
    "kin_m": KIN_M,
    "job": JOBS,
    "place": PLACES,
    "town": TOWNS,
    "season": SEASONS,
    "weather": WEATHER,
    "time": TIMES,
    "day": DAYS,
    "month": MONTHS,
    "colour": COLOURS,
    "goods": GOODS,
    "food": FOODS,
    "drink": DRINKS,
    "transport": TRANSPORT,
    "public": PUBLIC,
    "mood": MOODS,
    "worry": WORRIES,
    "animal": ANIMALS,
    "hobby": HOBBIES,
    "saying": SAYINGS,
}
