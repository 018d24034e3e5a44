"""Laboratory, workshop and town topics, in the same form as the everyday ones."""

from __future__ import annotations

LAB_FACTS = """
# the thermometer
- A thermometer shows [how hot or cold|the temperature of what] [something is|it touches].
- In the old kind, a liquid swells with heat and [climbs|rises] in a narrow tube.
- It needs time, so wait {w:1-4} minutes before you read it.
- Hold it by the top, or you will measure your own [hand|fingers].
- For air it must hang in the shade, because [sunlight|direct sun] heats the glass itself.
- Read it with your eye [level with|at the height of] the column.
- Melting ice should give zero; if it does not, [write the error on a label|note the difference].
# the balance
- A balance [compares|weighs] one thing against known weights.
- It must stand level on a [heavy|stone] table, away from [draughts|the fan].
- Set it to zero before each [use|series].
- A warm dish seems too light, because air [rises|streams up] around it.
- Never put [powder|wet things] right on the pan; use a [dish|sheet of paper].
- Fingers leave grease, so pick up small weights with [tweezers|forceps].
- Weigh the [empty dish|dish alone], then the full one, and take one from the other.
- If three weighings differ by more than {w:2-5} milligrams, [look for the cause|check the level].
# the microscope
- A microscope makes small things look [large|many times larger].
- Begin with the weakest lens, because it shows [the widest field|most of the slide].
- Bring the lens close while you look from the [side|outside], then focus by moving [away|it up].
- Too much light [hides|washes out] fine detail, so close the [stop|diaphragm] a little.
- A drop of pond water may hold {w:3-12} kinds of living things.
- Clean the glass only with [lens paper|soft paper], never with a [sleeve|rough cloth].
- Carry it with both hands, one [under the foot|below].
- Draw what you see, not what you [expect|hope for].
# the pipette
- A pipette measures and moves a small [volume|amount] of liquid.
- Rinse it first with the liquid that you [want to measure|will use].
- Fill it above the mark and let the liquid [sink|drop] until the curve touches the line.
- Hold it upright, with the mark at the height of your [eye|eyes].
- Never use your mouth; there are [rubber|safe] bulbs for that.
- Touch the tip to the wall and wait {w:3-9} seconds for the last [drop|bit].
- Some are made to keep one drop back, so [do not blow|leave it there].
# measuring volume
- The surface of water in a glass tube is curved [upwards|up] at the edges.
- Read the lowest point of the curve, with your eye [level|on the line].
- A [tall|narrow] cylinder is more exact than a wide one, since a drop [moves|lifts] the line
  further.
- A stone can be measured by how far it [raises|pushes up] the water.
- A beaker is for holding and [mixing|stirring]; its lines are only a [rough|loose] guide.
- Warm water takes more room, so the glass is marked for {w:20-20} degrees.
- Bubbles on the wall count as [volume|water], so tap them off.
# pure water
- Water from the tap holds salts that it [picked up|dissolved] on its way through rock.
- When it dries it leaves a white [ring|film] in the [kettle|dish].
- To make it pure, boil it and catch the [steam|vapour] on something cold.
- Pure water hardly carries [electric current|a current], and that is a way to test it.
- It tastes [flat|dull], and it is no better for [tea|drinking].
- Keep it in a closed bottle, because it takes up gas from the [air|room].
- Use it for the last rinse of [glass|flasks] and for batteries.
# filters
- A filter lets the liquid through and [keeps back|holds] the solid.
- Fold the paper in half and again, and open it into a [cone|cup].
- Wet it so that it [sticks|holds] to the funnel.
- Pour down a glass rod and [do not fill|never fill] it above the edge of the paper.
- What comes through is clear, but it may still hold [salt|dye], which is dissolved.
- If it runs too slowly, let the [mud|solid] settle first.
- It took {w:5-30} minutes for one [cup|glass] of [ditch|muddy] water in our test.
# acids and bases
- Acids taste sour and bases feel [like soap|slippery], but you must not [taste|touch] them to
  find out.
- Red cabbage juice turns [pink|red] in vinegar and [green|blue] in soapy water.
- A scale from zero to fourteen is used, and seven is [neither|in the middle].
- Each step on it means ten times [more|stronger] or less.
- When you mix them, add acid to water [slowly|drop by drop], never the other way.
- Equal amounts can [cancel|balance] each other and leave salt and water.
- Farmers spread lime on soil that is too [sour|acid] for [clover|barley].
- Wear [glasses|goggles], and rinse [splashes|spots] with plenty of water for {w:10-15} minutes.
# crystals
- A crystal grows when [salt|sugar|alum] leaves a liquid in good order.
- Stir it into hot water until no more will [dissolve|go in].
- As the water cools it can hold less, and the rest must [come out|settle].
- Slow cooling gives [a few large|big clear] ones, fast cooling gives many small ones.
- Hang a [seed|small crystal] on a thread and do not [shake|move] the jar.
- After {w:4-14} days it may be as big as a [pea|hazelnut].
- Dust starts new crystals, so cover the jar with [paper|a cloth].
- Salt makes cubes, but [alum|quartz] has other [shapes|faces].
# magnets
- A magnet pulls iron and some [other|related] metals, but not [copper|wood|brass].
- It has two ends; unlike ends pull together and like ends push [apart|away].
- A compass needle is a small one that can turn [freely|with ease].
- If you break one in two, each half has [both|two] ends again.
- Heat or [hard knocks|hammering] can weaken it.
- Stroke a needle {w:20-50} times in one direction and it will [pick up|lift] a pin.
- A coil of wire with a current [acts|works] in the same way and can be switched off.
# electric current
- Current flows only when there is a closed [path|loop] for it.
- A battery pushes, a wire leads, and a lamp [uses|turns] the energy into light.
- Copper leads well, while [rubber|glass|dry wood] hardly leads at all.
- Thin wire grows hot, and that is how a [toaster|fuse] works.
- A switch is just a [gap|break] that you can close.
- In a row, one dead lamp puts out [all|the rest]; side by side, the others [stay on|keep burning].
- Wet hands and mains power do not [mix|go together].
- Two cells of 1.5 volts in a row give 3 volts, [enough|about right] for a small torch.
# levers
- A lever is a bar that turns on [a fixed point|one point].
- A long arm lets a small force lift a [heavy|great] load, but the hand must travel further.
- Scissors, [oars|tongs], nutcrackers and wheelbarrows are all [levers|of this kind].
- Twice as far from the point means that half the [push|force] is enough.
- A child at the end of a seesaw can lift a [parent|teacher] who sits near the middle.
- To pull a nail, put [a block|some wood] under the hammer.
- You never win [work|energy]; you only trade force for [way|distance].
# pulleys
- A pulley is a wheel with a [groove|track] for a rope.
- One fixed wheel only changes the direction, so that you can pull [down|with your weight].
- With two wheels the load hangs on two ropes and feels [half as heavy|lighter].
- You then have to pull {w:2-2} metres of rope for each metre of lift.
- Builders [use|need] them for bricks and sailors for [sails|the heavy sail].
- A dry axle eats part of the force, so [oil|grease] it.
- Check the rope for [worn|thin] places before [each|every] lift.
# sound
- Sound is a [trembling|shaking] of the air that reaches the ear.
- A short string trembles faster and gives a [higher|brighter] note.
- In water it travels more than four times as [fast|quickly] as in air.
- Soft things like [curtains|snow|coats] swallow it, and [bare|hard] walls throw it back.
- An echo after one second means a wall about {n:165-175} metres away.
- Put an ear to the [rail|table] and you will hear what the air does not [bring|carry].
- Where there is no air, there is no [sound|noise], however hard you knock.
# light and shadow
- Light travels in straight lines, and a shadow is [the place|where] it cannot reach.
- A small lamp makes a [sharp|clear] edge, while a wide one makes a [soft|blurred] edge.
- In the evening the sun is low, so shadows are [long|many metres long].
- A stick in the ground can serve as a [clock|sundial].
- To find a tree's height, compare its shadow with that of a [stick|metre rule].
- White walls throw light back and make a room [brighter|seem larger].
- Black cloth takes light in and grows [warm|hot] in the [sun|window].
# batteries
- A battery turns chemical energy into electric [energy|current].
- Two different metals in salt water or [lemon juice|vinegar] will make a weak one.
- Cold makes it slow, so a torch may [fail|fade] in the snow and work again [indoors|in a warm
  pocket].
- Do not mix old and new ones in [the same lamp|one device].
- Take them out of things that you will not use for {w:2-6} months, since they may [leak|spoil].
- Never throw them on a fire or in the [stove|garden].
- Bring the dead ones back to the [shop|collecting point], because the metal can be used again.
# glass
- Glass is made by melting sand with [soda|ash] and lime.
- It does not melt at one point but grows [soft|softer] bit by bit.
- Hot glass that cools too fast [cracks|breaks], so it rests for hours in a [warm|slow] oven.
- Thick glass breaks in boiling water because the inside swells [first|before the outside].
- The glass of a laboratory holds boron, which makes it swell [less|only a little].
- To pour hot tea into a thin cup, put a [spoon|metal spoon] in it first.
- It can be melted again {w:10-40} times and [lose nothing|be as good as new].
# paper
- Paper is a mat of [plant|wood] fibres that hold on to each other.
- The fibres are beaten in water, spread on a [sieve|wire cloth], pressed and dried.
- Wet paper is weak, because water [loosens|undoes] the hold.
- It tears straight along the grain and [ragged|crooked] across it.
- Old rags make strong paper for [money|maps], and old news makes [egg boxes|grey card].
- It can be used again {w:4-7} times before the fibres are too [short|weak].
- Sun turns cheap paper [yellow|brown], so keep [letters|drawings] in a dark [box|drawer].
# maps
- A map shows the land from above, but [smaller|much smaller].
- The scale tells how far one centimetre [reaches|goes] on the ground.
- On a scale of one to {w:20-50} thousand, every house in the [lane|village] has its own mark.
- Lines of equal height lie close together where the slope is [steep|hard to climb].
- North is at the top on most maps, but [look for|check] the arrow.
- Turn the map until it [agrees|fits] with the land before you [choose|take] a path.
- Rivers bend and woods are cut, so [look at|note] the year of the survey.
# keeping records
- A record is only useful if [someone else|a stranger] can read it.
- Write the date, the [place|instrument] and your name at the top of [each|every] page.
- Use ink, and cross out a mistake with one line so that it can [still be read|be checked].
- Write the number down [at once|before you walk away], with its unit.
- Note what was odd, even if it seems [silly|small], such as [a smell|an open window].
- Never [invent|guess] a missing value; leave a gap and [say why|explain it].
- Keep a copy in another [room|house], since fire and [water|mice] do not ask.
- Somebody will thank you {w:5-30} years from now.
# a fair test
- In a fair test you change one thing and keep the rest [the same|as it was].
- If you change both [light|soil] and water, you cannot tell which of them [mattered|helped].
- Use {w:5-12} plants and not one, because any single plant may be [weak|ill].
- One group gets no treatment, and you compare [with it|the others to that].
- Decide before you start what would prove you [wrong|mistaken].
- Let a friend do the counting who does not know [which pot|what] got what.
- Write down [bad|failed] results too, for they save [others|the next person] the trouble.
# average values
- To find an average, add the values and divide by [how many|the number] there are.
- One reading may be too high and the next too low, and the errors partly [cancel|even out].
- One wild value can [pull|drag] the average away, so look at the middle value too.
- Say how far the values spread, for an average of {w:20-30} may hide both [ten and fifty|very low
  and very high ones].
- More readings help, but four times as many only [halve|cut in half] the error.
- If every reading is wrong in the same way, no [average|amount of work] will mend it.
- Do not give more figures than the [ruler|instrument] can show.
# cheese
- Cheese is a way to [keep|store] milk for months.
- A little rennet or [lemon|vinegar] makes the milk set into soft lumps.
- The lumps are cut, and a thin yellow liquid called whey [runs out|drains away].
- Salt draws out more water and keeps [bad|unwanted] moulds away.
- In a cool cellar it [ripens|ages] for {w:2-12} months and is turned [daily|every few days].
- Ten litres of milk give about one kilo of [hard|firm] cheese.
- Wrap it in [paper|cloth], since it must [breathe|not sweat].
# bicycles
- A bicycle turns each push on the pedal into [speed|a longer roll of the wheel].
- In a low gear you push lightly and often, which is right for [hills|starting].
- A high gear needs a strong push but covers [{w:6-8} metres|more ground] with each turn.
- Soft tyres cost [strength|effort], so check them every [week|Sunday].
- Clean and oil the chain when it [squeaks|looks dry].
- Use both brakes together, and brake before the bend[| and not in it].
- At night you need a white lamp in front and a red one [behind|at the back].
# markets and prices
- At a market, price is where buyer and seller [agree|meet].
- When plums are plenty the price [falls|drops], and after a late frost it [climbs|rises].
- Late in the day sellers would rather sell cheaply than [carry|cart] it all home.
- The first price is [seldom|hardly ever] the last one.
- A fair scale brings people back, and a false one is [talked about|remembered] for {w:5-20} years.
- Compare by [weight|the kilo], because boxes come in all sizes.
- Money saves us from having to find a [baker|potter] who happens to want [shoes|eggs].
# how letters travel
- A letter starts its way in a [red|yellow|blue] box on the street corner.
- A van brings it to a hall where it is [sorted|read by a machine] by its code.
- The stamp is cancelled so that no one can use it [twice|again].
- It travels by night in a [train|lorry|plane] with {n:10-90} thousand others.
- In the morning a carrier puts the letters in the order of the [houses|doors].
- Write the address [clearly|in plain letters], with your own on the back.
- If nobody lives there, it comes [back|home] to the sender.
"""
