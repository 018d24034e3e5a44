"""Plots of the customer cases, phone calls, letters and visits."""

CASE = """
=
- {date}{daypart}，{place}{org}的{contact}通过{channel}找到我们，说单位里的一{measure}{product}[不
太对劲|出了毛病|闹起了脾气]：{symptom}。
- {contact}在{place}{org}工作，用{product}已经[两三年|一年多|好几年|一个多季度|快半年]了。
{date}{daypart}，这{measure}老伙计忽然[不听话|罢了工|犯了毛病]：{symptom}。
- 这是{date}记下的一件事。{place}{org}有一{measure}{product}，{symptom}，{contact}{mood}。
- “{symptom}。”{date}{daypart}，{place}{org}的{contact}在电话里这样描述{product}的毛病，{mood}。
- {place}{org}买过我们的{product}，平时很少出问题。{date}{daypart}却收到{contact}的消息，
说是{symptom}。
- 本案例来自{place}{org}。{date}，{contact}在[例行检查|准备测量|交接班|给学生演示|整理数据]的时候
发现，{product}[有毛病|出了问题|不正常]，{symptom}。
- {date}，{weather}。{place}{org}的{contact}照例用{product}做事，却遇到了麻烦：{symptom}。
- [讲一个|再说一个|记一个]{product}的例子。用户是{place}{org}，联系人是{contact}，时间是{date}，
现象是{symptom}。
=
- {stake}，所以[电话里|消息里]{urgent}。
- [据他说|对方说|照{contact}的话]，{stake}。
- 问起急不急，[回答是|对方说]{stake}。
- 接电话的同事先安抚了几句，又问清了仪器编号和使用的环境，得知{stake}。
- [在这之前|来电之前]，{contact}已经[重启了几回|照着说明书试过一遍|请隔壁单位的人看过|换过一个插
座]，都不见效，而{stake}。
- 当时{stake}，{contact}想知道[能不能先应付几天|要不要寄回来|有没有办法自己处理|最快什么时候能修
好]。
=+
- 接手的工程师是{engineer}。[他|这位工程师]没有[急着下结论|马上让人寄回来]，而是请对方{check}。
- {engineer}听完描述，[心里先有了两个猜想|想起不久前的一次维修|翻了翻这台机器的档案]，
第一步是{check}。
- 按照[先易后难|先外后里|先看环境、后看机器]的办法，{engineer}建议先{check}。
- {engineer}{travel}，来到现场，打开工具箱，拿出{tool}，[首先|头一件事就是]{check}。
- 电话转到{engineer}手里。几句话以后，[判断的方向就清楚了|范围缩小了一大半]，于是请{contact}
{check}。
- 因为路远，{engineer}先通过视频指导，让{contact}{check}，自己在这头看着。
- {engineer}第二天{daypart}到了{place}，{weather2}。喝了一口水，就动手{check}。
=
- 果然，{cause}。
- 这一查，[问题露出了马脚|答案就出来了]：{cause}。
- 结果[不出所料|出乎大家的意料]，{cause}。
- 折腾了[一刻钟|半个钟头|不到十分钟]，原因找到了，{cause}。
- 起初还怀疑[是电路板的事|是软件的事|是仪器进了水]，后来确认不是，真正的原因是{cause}。
- 问题就在这里，{cause}，[难怪|也就难怪]{symptom}。
- {contact}这才恍然大悟：原来{cause}。
- 把前前后后的情况连起来看，{cause}，别的部件都是好的。
=
- 接下来的事情就顺了：{cure}。
- 于是{engineer}{cure}，前后花了[不到一小时|大约四十分钟|一个下午|一顿饭的工夫]。
- 处理的办法并不复杂，{cure}。
- 对症下药，{cure}，[中间|其间]还顺手清理了一下机身。
- {contact}在旁边看着，{engineer}一边讲一边做，{cure}。
- 中途{delay}，好在最后还是按计划{cure}。
- 征得对方同意以后，{engineer}{cure}，换下来的东西装进袋子带回。
=
- 再试，{result}。
- 做完以后请{contact}亲手试了一遍，{result}。
- 过了[一会儿|一刻钟|半个小时]再看，{result}，[大家都放心了|一屋子的人都笑了]。
- [当天|第二天]回访，{contact}说{result}，{thanks}。
- 效果立竿见影，{result}。{contact}{thanks}。
- 为了稳妥，又连着观察了[两天|三天|一个星期]，{result}。
=+
- 临走的时候，{engineer}叮嘱道：{advice}。
- 事后给客户的建议只有一条，就是{advice}。
- [小结|体会]：{lesson}。同时提醒用户，{advice}。
- 这个案例说明，{lesson}；对用户来说，要紧的是{advice}。
- 回来以后，{engineer}在{paper}上写道：“{lesson}。”给客户的话则是：{advice}。
- 以后怎样避免呢？{advice}。{engineer}还说，{lesson}。
- {contact}问以后要注意什么，答案是：{advice}。
=?
- 这件事后来被讲师拿到课堂上，当作[典型的例子|反面的教材|开场的故事]。
- 同组的{colleague}看了记录，补充说，[上个月|去年冬天|前些日子]在{place2}也遇到过相似的情形，
{result}。
- 客服在系统里给这条记录加了标签，方便以后遇到“{symptom}”的时候查找。
- 一个月后再次回访，{place}{org}的{product}一切正常，{contact}还介绍了{place2}的朋友来咨询。
- 整个过程从来电到结束，用了[半天|一天|两天|三天]，比[平时|预计的]快。
- 值得一提的是，{contact}平时的记录做得很细，帮了大忙。
"""

CALL = """
=
- 客服：您好，这里是澜溪仪器，请问[有什么可以帮您|您遇到了什么问题|您用的是哪一款仪器]？
- 客服：您好，我是值班的{engineer}，[请讲|您慢慢说]。
- 客服：[上午|下午]好，感谢您的耐心等待，请问怎么称呼？
=-
- 客户：我姓{surname}，在{place}{org}，我们那{measure}{product}不好使了，{symptom}。
- 客户：我是{place}{org}的{contact}。跟您说个事，{product}[有毛病|出了问题|不正常]，{symptom}，
{stake}。
- 客户：可算打通了。我这里是{org}，{product}从[昨天|今天早上|上个星期]起就不正常，{symptom}。
- 客户：[麻烦您帮着看看|想请教一下]，{product}[有毛病|出了问题|不正常]，{symptom}，这是怎么回事？
=-
- 客服：别着急，我先记下来。[最近|这之前]有没有[挪过地方|摔过|换过人用|进过水|换过零件]？¶客户：
没有特别的事，就是[上个星期|前几天]用过一回，那天{weather2}。
- 客服：明白了。[上次校准|上一回清洁|上次送检]是什么时候？¶客户：[记录本上写的是{date2}|有些日子
了，具体哪天我要查一查|{date2}做的，当时一切正常]。
- 客服：明白了，请问平时放在什么地方，谁在用？¶客户：一直放在[靠墙的柜子里|专门的架子上|屋里的桌
子上|工具箱里]，平时[我一个人用|好几个人轮着用|交给徒弟用]。
- 客服：我复述一遍，您的{product}不正常，{symptom}，对吗？¶客户：对，就是这样，{stake}，
[您说怎么办|能不能快一点]。
- 客服：您自己试过什么办法没有？¶客户：我照着说明书[重启过|擦过一遍|换过插座]，
[没有用|还是老样子|好一会儿又犯]。
- 客服：好的，{surname}[老师|师傅]，记录我看到了，是{place}的这一{measure}吧？¶客户：就是这一
{measure}，{stake}，所以{urgent}。
=-
- 客服：那请您先做一件事，{check}，我在线上等着。
- 客服：根据您说的，我猜不是大毛病。麻烦您{check}，看看结果。
- 客服：我们一步一步来，首先{check}。
=-
- 客户：[等一下|您稍等]……我看到了，{cause}。
- 客户：哎呀，还真是，{cause}。
- 客户：按您说的看了，好像是{cause}。
=-
- 客服：这就对上了。办法是{cure}，[您自己就能做|如果不方便，我们可以派人去]。
- 客服：原因找到了就好办，请您{cure}。
- 客服：那么接下来{cure}，做的时候[不要用力|慢一点|先断电]。
=-
- 客户：弄好了，{result}，太谢谢了。
- 客户：（过了[十分钟|一刻钟|半小时]）行了，{result}。
- 客户：我让徒弟试了，{result}，[真神了|您可帮了大忙]。
=-
- 客服：不客气。以后请您记住，{advice}。[祝您工作顺利|有事再打给我们|再见]。
- 客服：那就好。顺便提醒一句，{advice}。
- 客服：请记得这一条，{advice}，这样就不容易再犯。这次通话的编号是{code}，[下次来电报编号就行|请您
记一下]。
"""

LETTER = """
=
- 澜溪仪器的朋友们：你们好！
- 尊敬的客服部：
- 各位工程师：见字如面。
- 亲爱的{engineer}：您好！
=-
- 我是{place}{org}的{contact}，家里离你们那儿很远，用你们的{product}也有些日子了。
- 这是我头一次给厂家写信。我在{place}{org}管{product}，[天天和它打交道|一年到头离不开它]。
- 上次见面以后一直想写封信，{place}{org}的事情多，拖到{date}才动笔。
- 我们{org}在{place}，地方偏，买东西不方便，所以对{product}格外爱惜。
=
- [那一回|前一阵]，{symptom}，{stake}，我急得一夜没睡好。
- 事情是这样的：{date2}，{weather}，{symptom}。
- 说起来惭愧，{symptom}的时候，我还以为是机器质量不行，说了几句难听的话。
- 我们最怕的就是出毛病没人管，偏偏[春天|夏天|秋收前|年底]{symptom}。
=
- 多亏{engineer}，{travel}，来到我们这里，{check}，才知道{cause}。
- {engineer}在电话里一句一句地教，让我{check}，最后弄清楚是{cause}。
- 来的是{engineer}，话不多，手很巧，{check}，没多久就说：“{cause}。”
=
- 他{cure}，一分钱没有多收，{result}。
- 后来照着办法{cure}，{result}，到现在没有再犯。
- 我跟着学，自己动手{cure}，居然{result}，[徒弟们都服气|连我老伴都夸我]。
=+
- 我把经验写在了墙上：{advice}。[来参观的人都抄了一份|新来的人头一天就要背下来]。
- 现在我逢人就讲，{advice}，[这比什么都管用|省得再出洋相]。
- 有一个建议，能不能把“{advice}”印在机身上，[字大一点|用大红字]，我们上了年纪的人看得清。
- 还有一件小事想说：[说明书的字太小|保护帽容易丢|线再长半米就好了|按键声音再大一点就好了|包装里多
放一份速查卡就好了]，请你们考虑。
=
- 这几天{weather}，想起你们在外面跑，[多保重|路上当心]。
- 等[果子熟了|鱼起塘了|新茶下来|麦子收了]，欢迎来{place}[尝鲜|做客]。
- 祝公司的仪器越做越准，也祝{engineer}身体好。
=-
- {place}{org} {contact} {date}
"""

VISIT = """
=
- {date}，{weather}，{engineer}和{colleague}到{place}{org}走访，{travel}，[上午|下午]到达。
- 走访单位：{place}{org}。日期：{date}。同行的有{engineer}、{colleague}。当天{weather}。
- 按照计划，{date}走访{place}{org}。{engineer}{travel}，{contact}在门口迎接。
- {engineer}这一趟去的是{place}，{travel}。{org}的{contact}领着看了一圈，那天是{date}，{weather}。
=
- 对方现有{product}{n:2-9}{measure}，最早的一{measure}用了{n:2-9}年，平时由{contact}带着{n:2-5}个
人使用。
- {org}用的是{product}，一共{n:2-8}{measure}，分在{n:2-4}个地方，每天测{n:10-60}次上下。
- 现场看到{n:2-6}{measure}{product}，擦得干干净净，旁边挂着{paper}，字迹工整，已经写到第{n:20-90}
页。
- 他们的{product}用得很勤，去年测了[九百|一千|两千|三千|四千]多次，[坏得不多|只修过一回|有两次小毛
病]。
=+
- 谈到使用中的问题，{contact}说，{symptom}。{engineer}当场{check}，发现{cause}，随后{cure}，
{result}。
- {contact}反映，前一阵{symptom}，自己[试过|折腾过]，没有弄好。{colleague}{check}，确认{cause}。
{engineer}{cure}，再看，{result}。
- 有一{measure}{symptom}，放在角落里没人用。取来一看，{cause}。两位工程师{cure}，{result}，
[等于白捡了一台|大家都很高兴]。
- 问题不多，比较突出的是{symptom}。原因是{cause}，当场{cure}，{result}。
=
- 另外，{contact}提出[三|两|几]点希望：[速查卡印得再大一些|备件能存放在县里|冬天能办一次培训|软件
能导出折线图|报警能发到手机上|数据能按周汇总]，[线再长一点|屏幕再亮一点|说明书配上插图|电话回访再
勤一点]。
- 对于今后，{org}打算[再添{n:2-6}{measure}|把旧的换掉|和邻近的单位共用数据|把数据接到县里的平台|派
两个人来听课]，{contact}问了[保修|送检|运输|培训|延保]的事情，已经解释清楚。
- 交谈中得知，{place2}的{org2}也想了解{product}，{contact}愿意引荐。
- 顺便看了仓库，[备件摆放整齐|试剂过期了两瓶，已提醒处理|纸箱都留着，便于寄修|少了一本说明书，
回去补寄]。
=+
- 给用户的建议：{advice}。待办：[补寄速查卡|寄一份校准计划|整理一份报价|安排下一季回访|把照片归
档]，由{colleague}在{n:2-7}天内办完。
- 这一趟的收获是：{lesson}。回去以后要做的事情，一是[寄资料|补备件|写案例]，二是把“{advice}”加进
[提示语|培训课件|速查卡]。
- 离开时，{contact}{thanks}。遗留问题[没有|一个，等备件到货再去|两个，都不影响使用]，
下次走访定在{n:2-5}个月以后，届时再看“{advice}”这一条做到没有。
- 评价：对方{thanks}。提醒的话也说了，{advice}。{engineer}的体会是{lesson}。
"""
