"""Hand-written short stories.  Lines are joined into paragraphs when they are written out."""

from __future__ import annotations

STORY_TEXTS: dict[str, str] = {}

STORY_TEXTS["stories-01.txt"] = """
The Lamp at the Ferry

Old Martin had rowed the ferry at Willow Bay for forty-one years. In the daytime people called him
from the far bank, and at night they lit a small lamp that hung on a post. When Martin saw the
light across the water, he put on his coat and went to fetch whoever was waiting there.

One November evening the fog was so thick that he could not see his own oars. He sat in the kitchen
and listened to the clock. "Nobody will cross tonight," he said to the dog. But the dog did not lie
down. It stood at the door with its ears up and would not come back to the stove.

Martin opened the door. He saw no light, and he heard nothing but the slow drip of water from the
roof. Still, the dog ran down to the landing and barked at the river. "If you are wrong," said
Martin, "you will go without supper." He untied the boat and pushed off.

In the middle of the river he stopped rowing and listened. At first there was only the sound of the
current. Then, far to the left, somebody coughed. He turned the boat towards the cough and rowed
with short, careful strokes. On a bank of gravel, with the water already over her shoes, stood a
girl with a large black case.

"I tried to light the lamp," she said, "but the matches were wet. Then I lost the path." She was a
doctor, and the black case was full of bottles and cloth. A child was ill in the village, and she
had walked all the way from the station.

Martin rowed her over. He did not talk, because he needed his ears to find the landing. The dog
barked again and again from the stern, and the echo from the boat house told them when they were
close. When they had tied up, the doctor asked what she owed him. "Nothing," said Martin. "It was
the dog who heard you. You can pay him with a piece of sausage, if you have one."

The child was well again by Sunday. In the following week a parcel came from the town. Inside lay a
tin box for matches with a lid that closed so tightly that no water could get in, and a sausage as
long as an arm. Martin nailed the box to the post under the lamp. It is still there, and every
autumn somebody fills it.

The Honest Scale

Two brothers sold flour in the same town. Their shops stood on opposite sides of the square, and
their sacks came from the same mill. Yet the elder brother, Georg, was always busy, while the
younger, Emil, waited half the day for the bell above his door to ring.

"It must be the sign," said Emil, and he had his sign painted in gold. Nothing changed. "It must be
the price," he said, and took off a penny. For three days a few more people came, and then they
went back across the square. At last he put on an old hat, pulled up his collar and walked into his
brother's shop like a stranger.

Georg was weighing flour for a woman with a basket. The pan came to rest exactly on two pounds.
Then Georg took the scoop, added a small heap more, and closed the bag. "That is for the dust that
stays on the way," he said. The woman laughed. Emil went home and thought about his own scale. It
was exact. It had never given anyone too little. But it had never given anyone a pinch too much,
either.

The next morning he put a scoop beside his own scale. When the first customer came, he weighed out
two pounds and added a little heap. "That is for the dust," he said, and felt rather foolish. The
customer, a boy with freckles, looked up. "My mother says that you are a fair man," the boy said,
"but that your brother is a kind one. I will tell her that she has to think again."

By the end of the year both bells rang equally often. When Emil added up his account book, he found
that the little heaps had cost him a single sack of flour. The golden sign had cost him nine.

A Hole in the Fence

There was a hole in the fence between two gardens. It was just large enough for a cat or a small
child. Mrs. Bell, who owned the left garden, wanted it closed, because the boy from the right
garden came through it and ate her peas. Mr. Lund, who owned the right garden, wanted it closed
too, because her cat came through it and slept in his onions.

So on a Saturday they met at the hole, each with a hammer, a board and a bag of nails. "You need
not trouble yourself," said Mrs. Bell. "I will do it from my side." "I would not dream of it," said
Mr. Lund. "I will do it from mine." They stood there for a while, and neither wanted to be the one
who only looked on.

Meanwhile the boy sat in the peas and the cat lay in the onions. They had both come through the
hole an hour before. When the boy saw the hammers, he called, "Wait, I am on the wrong side!" And
the cat, who had heard the voice of Mrs. Bell, got up, stretched, and walked through the hole to
her feet.

Mr. Lund began to laugh. "If we close it now, you will have my son," he said, "and I shall have to
buy you a cat." In the end they did not use the boards for the hole. They made a small gate of
them, with a hinge of leather, and hung it in the gap. The boy still eats peas, but he knocks
first. The cat does not knock, for cats never do.
"""

STORY_TEXTS["stories-02.txt"] = """
The Weather Book

When Hanna was nine, her grandfather gave her a thick book with empty pages. "Every morning at
seven," he said, "you look at the thermometer and at the sky, and you write one line." "What is it
good for?" asked Hanna. "You will know when it is full," said her grandfather.

The first line was easy. She wrote the date, the number six, and the words: grey, no wind. The
second line was just as easy. After two weeks it was dull, and after a month it was the dullest
thing she had ever done. On some days she wanted to stay in bed. But her grandfather never asked
about the book, and that made it harder to give up, because there was nobody to be angry with.

So she made a rule. She would write one line a day, and no line should be quite like another. Now
she had to look more closely. It was not enough to write "grey". Was it the grey of a pigeon or the
grey of a slate roof? Did the smoke from the bakery go straight up, or did it bend to the east? She
found that swallows fly low before rain, that sounds from the railway carry further in damp air,
and that the puddle in the yard dried from the edges inward.

In the third year there was a hot, dry spring. People at the market said there had never been
anything like it. Hanna went home and looked. "There was," she said the next day. "The year before
last it did not rain for twenty-six days in April. This year it is only nineteen so far." The
farmers turned round. One of them asked what had happened after that. "It rained on the second of
May," said Hanna, "and then for five days." They laughed, but two of them waited with their
ploughing, and on the fourth of May the rain came.

After that, people would stop her in the street. When had the first frost been? Which was the
better year for hay? She could not tell them what would come, and she always said so. She could
only tell them what had been. But it turned out that most of them had forgotten it, and that they
were glad to know.

When the book was full, her grandfather was already very old. She put it in his lap. He turned the
pages slowly and stopped here and there. "You wrote this one with a fever," he said, for the
letters were shaky. "And you wrote anyway." Then he opened the drawer beside his chair and took out
another book with empty pages. "Now I know what it is good for," said Hanna. "So do I," said her
grandfather. "I began my own when I was nine."

The Borrowed Cup

A young potter lived next to a rich merchant. One day the merchant sent his servant to borrow a
cup, because guests had come and there were not enough. The potter gave him the best one he had. It
was blue, with a thin rim, and it had taken him eleven tries to get the glaze right.

A week went by, and the cup did not come back. The potter did not like to ask. He told himself that
a cup was only a cup. But whenever he saw the merchant's house he thought of it, and whenever he
sat at his wheel his hands were a little heavier than before.

At last he went over and knocked. The merchant himself opened. "I have come about the cup," said
the potter, with a red face. "Ah," said the merchant, and his own face grew red as well. "It is
broken. My daughter dropped it on the first evening. I was ashamed to tell you, since I had heard
how fine it was. I have been hiding from you for seven days. I even went to market by the back
gate."

They looked at each other. "I have been hiding too," said the potter. "I crossed the street twice,
so that you should not think I wanted it back." Then they sat down on the steps, and the daughter,
who was six, brought out the pieces in a handkerchief. The potter turned them over in his hands.
"May I have them?" he asked. "I would like to see how thin I got it. One cannot know that as long
as a cup is whole."

From the broken edge he could see that the clay was thicker on one side. He had not known it. The
next cups that he made were better, and the girl was given the first.

Seven Loaves

A baker had a helper called Toby, who counted everything. He counted the steps to the well, the
bricks in the oven and the raisins in the buns. "You count too much," said the baker, "and you
knead too little." But she was fond of him, and he was never late.

On a winter morning a sledge stopped at the door. A man in a fur coat ordered seven loaves for a
journey, paid with a silver coin and drove away. Toby counted the loaves on the shelf. "There were
twenty," he said, "and there are fourteen. He has only six." "Then he has been careless," said the
baker. "It is his own fault." Toby shook his head. "I packed them. It is mine."

The tracks of the sledge led over the hill. He took one loaf under his jacket, where it kept him
warm, and followed them. The snow was deep. It was noon when he reached the inn at the crossroads,
and the sledge was standing in the yard. The man in the fur coat sat with his wife and five
children around a table. Each had a loaf, except for the smallest child, who was crying.

"I was just about to say," said the man, "that bakers in this country cannot count to seven." "They
can," said Toby, out of breath, and put the loaf on the table. It was still warm. The child stopped
crying, and nobody spoke for a moment. Then the man moved along the bench to make room.

When Toby came home in the evening, he had been given a ride for most of the way, and there was an
order in his pocket for seven loaves every week, all winter long. "How many is that?" asked the
baker. Toby did not have to think. "Until the end of March it is ninety-eight," he said.
"""

STORY_TEXTS["stories-03.txt"] = """
The Bridge Keeper's Daughter

At Stonebridge there was a wooden bridge that could be lifted for ships. A bridge keeper lived in a
tiny house at one end of it, with his daughter Vera. Whenever a ship blew its horn twice, he turned
a large wheel, and the bridge went up like the lid of a box.

Vera knew every ship by its horn. The coal boat was hoarse, the mail boat was cheerful, and the
boat with the oranges always blew three times, because its captain was from the south and did not
care for rules. "Why do they need us?" Vera asked. "They could build a bridge so high that every
ship goes under." "They could," said her father, "and some day they will."

That day came when Vera was fourteen. Men with striped poles measured the banks, and in the
following year a bridge of steel stood high above the river. It was grey and handsome. The trains
ran over it without stopping, and the ships passed below it without blowing their horns. The old
bridge was left open, and the little house was quiet.

Her father did not complain. He polished the wheel as before. But he no longer knew when to get up
and when to have his dinner, since all his life the ships had told him. He began to forget things.
Once he put salt in the lamp, and once he wound the clock until the spring broke.

Vera wrote a letter to the captain of the orange boat. She did not know his name, so she wrote "To
the captain who blows three times" on the envelope, and the post office, which knew everything,
delivered it. A few days later, at noon, three long notes came over the water. Her father jumped
up. He had his hands on the wheel before he remembered. Then he went out on the end of the old
bridge and waved his cap, and the captain waved back from below and threw an orange. It was a good
throw.

From then on the coal boat blew too, and the mail boat, and even the new ferry, whose horn sounded
like a cow. Nobody had ordered it. But the bridge keeper ate his dinner at noon, wound the clock
with six turns on Sunday evening, and wrote down all the ships in a book, as he had always done.

Three Wishes for the Workshop

A carpenter found a bottle in the sand, pulled out the cork, and a spirit came out of it, yawning.
"You have three wishes," said the spirit, "and please be quick, for I have had no breakfast for
nine hundred years."

The carpenter was a careful man. "First," he said, "I wish that my saws never grow blunt." "Done,"
said the spirit. "Second, I wish that my glue never dries in the pot." "Done." The carpenter
scratched his chin. He thought of gold, and he thought of a palace, but a palace has a great many
doors, and he knew who would have to hang them.

"Third," he said, "I wish that people would close the door behind them in winter." The spirit was
silent for a while. "I can move mountains," it said at last, "and I can dry up the sea. But that is
more than I am able to do. Wish for something else." "Then have some breakfast with me," said the
carpenter, "and we will call it even." They had eggs. And when the spirit left, it did close the
door, very gently, and it was the only visitor who ever did.

The Deaf Clockmaker

In a street behind the cathedral there lived a clockmaker who could not hear. He had lost his
hearing as a boy, through a fever. People wondered how he could mend what he could not hear
ticking. He laid two fingers on the case, closed his eyes, and after a minute he knew what was
wrong.

A proud young watchmaker came to town and opened a shop with large windows. "How can a deaf man
regulate a clock?" he asked everyone. "It is as if a blind man should paint." Some of the customers
began to think so too. They took their watches to the large windows, and the bench behind the
cathedral was often empty.

Then the tower clock of the cathedral began to strike at the wrong times. It struck four at noon
and eleven at three. The young man climbed up with a bag of tools. He listened to the great wheels
for a whole day. But the tower was full of noise: the wind in the slats, the pigeons, the bells
themselves. "It cannot be done," he said when he came down. "There is too much sound up there. One
hears nothing."

So they sent for the old man. He climbed the two hundred steps slowly and laid both hands on the
iron frame. The wind did not disturb him, and neither did the pigeons. He stood there until the
hour came. Then he pointed to a lever, high up in the dark, which shook when it should have been
still. A screw had worked its way out by less than the thickness of a coin.

The young man had held the ladder. "Would you teach me?" he asked, when they were down in the
street, and he took care to let the old man see his lips. The clockmaker took the young man's hand
and laid it flat on the wall of the cathedral. At first there was nothing. Then, deep inside the
stone, like a heart, the young man felt the clock go.

Stone Soup for a Night Shift

It was the night before the inspection, and four people were still in the laboratory. All the shops
were closed. "I have an onion," said Priya, who kept one in her desk for reasons that she would not
explain. "I have half a bag of rice," said Jonas. "I have a hot plate," said Mara, "but it belongs
to the upper floor, and we did not see it." The fourth was the new trainee, Bo. He had nothing and
was ashamed of it.

"You have legs," said Mara. "Go round the building and see who else is awake." Bo went. In the
glass workshop a man gave him two carrots. In the guard's room he got a tin of tomatoes, and a long
story about the guard's knee. The cleaner on the third floor had a sausage, and said that she would
come along with it, if it was all the same.

By midnight eight people sat around a new, clean bucket and ate. None of them had ever talked to
all of the others before. The glass worker mentioned that he had some spare flasks. The guard knew
where the missing key was. The cleaner said that the drain in room twelve had been blocked since
Tuesday, and that nobody had asked her.

The inspection went well. In the report there was a line that puzzled the director: "The
cooperation between the departments is unusually good." He called Mara and asked her what they had
changed. "We have put a soup bucket in the budget," she said. "It is under glassware."
"""
