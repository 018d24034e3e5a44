"""Hand-written dialogues and letters."""

from __future__ import annotations

TALK_TEXTS: dict[str, str] = {}

TALK_TEXTS["dialogues-01.txt"] = """
At the Ticket Window

"Good morning. I would like to go to Eastcliff, please, and be there by noon."

"Then you should have left an hour ago, madam. The fast train is gone. There is a slow one at
twenty past nine, and it arrives at a quarter to one."

"Is there no other way? My brother is getting married at half past twelve."

"Let me see. If you take the train to Kingsdale and change there, you will have four minutes to
reach the bus. The bus stops in front of the town hall at ten past twelve."

"Four minutes is not much. Is it far from the platform to the bus?"

"Down the stairs, through the hall and across the road. Do you have much luggage?"

"Only this box. It is the cake."

"Ah. Then do not run. I will call the station at Kingsdale and ask them to tell the driver. He is
my cousin. He has waited for less than a cake."

"That is very kind of you. What do I owe you?"

"Eleven forty for the ticket. And if there should be a slice left on your way back, I close at
seven."

The Broken Flask

Lin stood by the sink and did not turn round when Doctor Weber came in.

"You are here late," said Doctor Weber. "Is anything the matter?"

"I broke the large flask," said Lin. "The one from the old cupboard. I was washing it, and it
slipped."

"Are you hurt?"

"No. But it was the last of its kind. I have looked in the catalogue, and nobody makes them now."

Doctor Weber came closer and looked at the pieces. Then she took a pair of glasses out of her
pocket and looked again. "Do you see this line here, along the neck? It is brown. A fresh crack is
clear. This one has been there for years, and the dirt has got into it."

"So it was not my fault?"

"It broke in your hands, but it began in somebody else's. Perhaps in mine. I used it for my own
thesis." She put the glasses away. "What were you going to do with it?"

"The long distillation. I wanted to start tonight."

"With a cracked flask, over a flame, with half a litre of ether in it. And you would have been
alone here." Doctor Weber sat down on a stool. "I should have thrown it out long ago. I kept it
because I was fond of it. Let that be a lesson to me."

"What shall I write in the book?" asked Lin.

"The truth. Write that it broke, and when, and that there was an old crack. Then write that from
today every flask will be held against the light before it is used. I will sign it. And after that
we are both going home."

Two Gardeners

"Your beans are a foot higher than mine," said Mr. Ortega over the hedge. "What do you give them?"

"Nothing," said Mrs. Hale. "Water, and a kind word now and then."

"I give mine ashes, and bone meal, and the water from the fish tank. I read about it in three
different books."

"How often do you give it?"

"Every other day. And I loosen the soil around them each morning."

"And when do you leave them alone?"

Mr. Ortega thought about it. "I do not believe that I do," he said.

"There you are," said Mrs. Hale. "Come in and have some coffee. It will do your beans good."
"""

TALK_TEXTS["dialogues-02.txt"] = """
The Lost Umbrella Office

Clerk: Next, please. What have you lost?

Visitor: An umbrella.

Clerk: We have two hundred and twelve of them. What does it look like?

Visitor: It is black.

Clerk: Two hundred and three are black. Is there anything special about it?

Visitor: It has a wooden handle, and the wood is worn on one side. My father used to carry it, and
he always leaned on it with his left hand.

Clerk: With the left? One moment. That is something we can look for. Here are the ones with wooden
handles. Please take each of them in your left hand, as he did.

Visitor: Not this one. Not this. This one is too new. Oh.

Clerk: You did not even open it.

Visitor: I do not have to. My thumb went straight to the place.

Clerk: Sign here. I have worked in this office for nineteen years, and nobody has ever described an
umbrella so well.

Visitor: I have left it on the train three times this year. I think he would have laughed.

Clerk: Then do come back. We are open until five.

Learning to Listen

Teacher: Close your eyes. Tell me what you hear.

Pupil: Nothing.

Teacher: Wait a little longer.

Pupil: A cart in the street. Someone is sweeping.

Teacher: Good. What is nearer than that?

Pupil: The stove. It clicks. And your chair, when you move.

Teacher: And nearer still?

Pupil: My own breath. I had not noticed it before.

Teacher: What did you hear when you said "nothing"?

Pupil: I suppose I heard all of it. I only did not listen.

Teacher: That was the whole lesson. Now we can begin with the violin.

An Argument about a Number

"It says nine hundred visitors," said Rafael, "and I say that this cannot be right."

"The machine at the door counts them," said Ingrid. "It has a beam of light. Whenever the beam is
broken, it adds one."

"Exactly. What happens when a mother comes in with a child in her arms?"

"Then it counts one person too few."

"And when the postman comes in and goes out again?"

"It counts him twice. Oh. Does it count everybody twice, once on the way in and once on the way
out?"

"I stood there for an hour this morning with a pencil. I counted thirty-one people who came in.
Guess what the machine had."

"Sixty-two?"

"Seventy. The museum cat went back and forth four times."

Ingrid laughed. "Then we have about four hundred visitors and a very busy cat. The director will
not like it."

"She will like it less if the newspaper finds out first. Let us write it down as it is, and say how
we know. For the future we could hang the beam higher, so that the cat can pass under it, and halve
the result."

"And the child in the arms?"

"We will have to guess. But we will write that it is a guess."

On the Mountain

"How far is it to the hut?" asked the boy.

"As far as it was when you last asked," said his aunt, "less forty steps."

"My feet hurt."

"Mine too. Shall I tell you what we will do? We will walk to the white stone up there, and then we
will eat the plums. From the white stone we will walk to the crooked pine, and then you may choose
which of us carries the water."

"And after the pine?"

"After the pine we will be able to see the hut. And a thing that you can see is always closer than
a thing that you have to believe in."

The boy looked up. "That stone is not so far," he said.

"No," said his aunt. "They never are, one at a time."
"""

TALK_TEXTS["letters-01.txt"] = """
Lowick, the third of March

Dear Agnes,

You asked me how the move went. Badly, thank you, but we are here. The van came at six in place of
eight, and the men carried out the beds while Robert was still asleep in one of them. The piano
would not go through the door, although it had come in that way eleven years ago. In the end they
found that the door frame had been painted so often that it had grown narrower. They sawed off a
strip of paint as thick as a biscuit, and I have kept it. It has all our colours in it, like the
rings of a tree.

The new house is small and smells of apples, because the last owner stored them in every room. From
the kitchen I can see the railway, and the children already know the trains by heart. There is no
cellar, but there is a well, and the water is so hard that the kettle turned white in a week.

On the second evening somebody knocked. It was a woman with a pot of soup, who said only, "You will
not have found your pans yet." She was right. She came back for the pot on the next day and showed
me where the good baker is, and which of the two dentists to avoid.

Come at Easter, when the roads are dry. You can have the bed that Robert was carried out in.

With love, your Martha

P.S. I cannot find the blue vase. If you should remember into which box we packed it, please write
at once.

To the editor of the Harbour News

Sir,

In your issue of last Friday you wrote that the winter was "the coldest that anyone can remember".
I do not know whom you asked. I have read the thermometer at the pilot station every morning since
I was a young man, and I have the books in front of me. There have been four colder winters in that
time. In one of them the harbour was frozen for thirty-three days, and a horse race was held on the
ice. In this last winter it was frozen for nine.

I do not write in order to be right. I write because people will soon ask whether the winters are
changing, and it is a question that deserves a good answer. A good answer needs good numbers.
Memory is a poor thermometer: it always shows the last cold that we felt.

My books may be seen at the station on any weekday between two and four. There is a stove.

Respectfully yours, T. Hagen, retired pilot

Note on the door of the drying oven

To whoever used this oven on Tuesday night: you left it at 150 degrees. The rule is 105. There were
six samples of mine inside, which had been drying since Sunday, and they now smell like toast. I am
not angry, for the switch is badly marked and I once did the same thing myself. But I need to know
at what time you turned it up, because the first three samples may still be good if it was after
ten. Please put a note under my door. You need not sign it.

Farida, room 8

Note under the door of room 8

It was at twenty to twelve. I am very sorry. I have signed it all the same, and I have painted a
red line on the switch at 105. If you like, I will weigh the new samples for you on Saturday, while
you sleep.

Kofi, room 3
"""

TALK_TEXTS["letters-02.txt"] = """
Dear Mr. Brandt,

I have received your offer for the repair of our roof, and I thank you for it. Before I sign, I
have three questions.

First, you write that all tiles must be replaced. My neighbour, who is a roofer himself, though
retired, went up with me on Sunday. We counted forty-four broken tiles and about nine hundred whole
ones. Why can the whole ones not stay?

Second, the price contains two weeks of scaffolding, but the work is to take four days. Would it be
possible to begin when the scaffold stands, and to take it down when you have finished?

Third, you do not say what will happen if it rains in between. In the back room there is a cupboard
that has been in my family for a hundred and fifty years. It has survived two wars and four
children. I would not like to see it drown in your absence.

Please do not take this as mistrust. I want the work to be done by you, for everyone says that you
do it well. I only want to understand what I am paying for.

Yours sincerely, Helene Moreau

Dear Mrs. Moreau,

You ask the right questions, and I wish that everybody did.

To the first: you are right. My son wrote the offer, and he is young and likes everything new. We
will replace what is broken and put back the rest. That lowers the price by almost half.

To the second: the scaffold is rented by the fortnight, and I cannot change that. But your
neighbour's chimney needs work too, as I saw from the street. If he would like to have it done from
the same scaffold, you could share the cost.

To the third: we will open only as much of the roof as we can close by evening, and we have a large
sheet for the night. As for the cupboard, I will come with two men on the first morning, and we
will carry it to the front room before we touch a single tile. My grandfather may well have built
it. There is a small bird burned into the back of all his work. Please have a look.

With kind regards, A. Brandt

Dear Mr. Brandt,

There is a bird.

When can you start?

Helene Moreau

Camp at the upper lake, a Thursday, I believe

Dear all,

The helicopter comes for the samples tomorrow, so I can send you a letter. We have been here for
twelve days and have seen no one but each other and a fox. The fox steals soap.

The work goes like this. At six we crawl out of the tents. At seven we are on the lake in a rubber
boat. One of us holds the rope, one reads the depth, and one writes, and we change places every
hour, because the writer freezes. We lower a heavy tube into the mud and pull it up again. In the
tube there is a column of mud as long as a man, striped dark and light. Each pair of stripes is one
year. The dark is winter and the light is summer. Yesterday I held the year in which grandfather
was born between two fingers. It was a thin one. It must have been a short summer.

The food is good, apart from the bread, which ran out on the ninth day. Samuel bakes flat cakes on
a stone. They taste of stone. In the evening we play cards with a pack from which the seven of
hearts is missing, so that everybody always suspects everybody else of having it.

Do not send anything. Only write, when I am back in the valley, what you have had for dinner on
each day. I want to read it slowly.

Your Elin
"""
