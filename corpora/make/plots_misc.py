"""Plots of the troubleshooting answers, routine notices, quizzes and training notes."""

TROUBLE = """
=
- 问：我的{product}{adverb}不太对劲，{symptom}，该怎么办？
- 问：{product}，{symptom}，是坏了吗？
- 问：用{product}的时候，{symptom}，请问是什么原因？
- 问：[请教一下|打扰了|急问]，{symptom}，型号是{product}，能自己修吗？
- 问：我们{org}有一{measure}{product}，{symptom}，要不要寄回去？
=-
- 答：先别急着寄修。请您{check}，看看是不是{cause}。如果是，{cure}，一般就能好。
- 答：这种情况多半是{cause}。确认的办法是{check}；确认以后，{cure}。
- 答：不一定是坏了。{check}，如果{cause}，那么{cure}就可以了。
- 答：[我们收到过不少这样的提问|这个问题很常见]。原因往往是{cause}，处理起来分两步：先{check}，
再{cure}。
- 答：可以自己处理。第一步，{check}。第二步，若是{cause}，就{cure}。第三步，再测一次。
=
- 处理之后，{result}，就算修好了；要是还不行，请联系客服。
- 做好以后再看，{result}。平时{advice}，能少遇到这样的事。
- {place}{org}的用户就是这样做的，{result}。
- 为了不再发生，请记住：{advice}。
- 如果照做以后还是老样子，请把现象录下来发给我们。另外，{advice}。
"""

TRAINING = """
=
- 培训笔记　主题：{topic}　讲师：{engineer}　日期：{date}　地点：[多功能厅|知澜学堂直播间|校准室|
{place}的培训点]
- {date}听{engineer}讲“{topic}”，记下几条，免得忘了。
- 培训记录（{date}）。讲课的是{engineer}，听课的有{n:8-40}人，题目叫“{topic}”。
=+
- 开头讲了一个故事：{place}{org}，{symptom}，{contact}{mood}，差一点要把{product}扔掉。
后来{check}，才知道{cause}。讲师说，{lesson}。
- {engineer}先问大家：如果用户说“{symptom}”，第一句话应该问什么？有人说问编号，有人说问环境。
正确的做法是先请对方{check}，因为最可能的原因是{cause}。
- 课上拆开了一{measure}{product}，大家轮流看。{symptom}的时候，毛病常常出在这里：{cause}。
会修的人{cure}，不会修的人只会重启。
=+
- 第二段讲{product2}。{symptom2}，并不等于机器坏了，要{check2}。讲师当场演示：{cure2}，
果然{result2}。
- 接着做练习：两人一组，一个扮用户，一个扮客服。题目是{product2}“{symptom2}”。我们组说得太快，
忘了请对方{check2}，被扣了分；标准答案里的原因是{cause2}。
- 下半场是问答。有人问{product2}为什么{symptom2}，讲师答，{cause2}，又说，{advice2}。
=+
- [记住的话|今天的收获|作业]：{lesson}；{advice}。
- 考试只有一道题：写出“{symptom}”的三个步骤。我的答案是先{check}，再{cure}，最后看是否{result}。
得了{n:82-99}分。
- 课后{colleague}补充了一点，{place2}那边[雨季|天冷|刮风|换季]的时候容易这样，要记住：{advice}。
- 回来以后给{colleague2}复述了一遍，[他|她]听懂了，说明我也懂了。要点是：{lesson}。
"""

QUIZ = """
=
- 问：{entity}的{attribute}{asked}？答：{value}。
- {entity}的{attribute}是{value}，请记牢。
- 要是有人问起{entity}的{attribute}，可以回答：{value}。
- 填空：{entity}的{attribute}是（　　）。答案：{value}。
- 卡片正面写“{entity}——{attribute}”，背面写“{value}”。
- 说到{entity}，{attribute}是{value}。
- 讲师问{attribute}，大家一起答：{entity}，{value}。
- {attribute}（{entity}）：{value}。
- [新人{surname}姐问{entity}的{attribute}，{colleague}告诉她|新人{surname}哥问{entity}的
{attribute}，{colleague}告诉他]是{value}。
- {colleague}在本子上记下：{entity}，{attribute}，{value}。
- 关于{entity}，大家问得最多的是{attribute}，答案是{value}。
- 翻到有{entity}的那一页，{attribute}一栏写着{value}。
- 别记混了，{entity}的{attribute}，{value}。
"""

LECTURE = """
=
- {engineer}将于{date}[下午|晚上]在[多功能厅|三号会议室|资料室|校准室]讲一堂课，题目是“{topic}”，
欢迎大家来听。
- 兹定于{date}举办内部讲座，主讲人{engineer}，题目“{topic}”，时长约{n:40-90}分钟。
- 应多位同事的要求，请{engineer}再讲一次“{topic}”，时间是{date}{daypart}。
=
- [讲课|内容]会用到{place}{org}的实例：{symptom}，为什么会这样，怎样一步一步找到{cause}。
- 听完以后，您会明白为什么{product}有时{symptom}，也会知道怎样{check}。
- 上一次讲的时候，有人提到{product}，{symptom}，没有来得及展开，这次专门留出时间。
=+
- 座位{n:20-60}个，先到先坐。请自带[笔和本子|工具|一件坏了的零件|一个问题]，[光听是不够的|边听边动
手才记得住|讲完当场练一遍]。
- 外地的同事可以在线收看，录像会放到知澜学堂。讲完以后有一道小测验，答对的送[钥匙扣|书签|一小盒硅
脂|水獭贴纸]。
- 请各组至少派{n:1-3}人参加，回去以后讲给没来的人听。联系人：{colleague}。
"""

FOUND = """
=
- {date}{daypart}，保洁员在[茶水间|走廊|校准室门口|大厅沙发|班车座位]捡到一[个黑色的钱包，
里面夹着一张照片|把花雨伞，伞柄上缠着红线|只保温杯，杯底贴着“{surname}”字|副老花镜，
镜腿断过又粘好|条灰围巾，像是手织的|本旧笔记本，夹着一张{place}的车票|串钥匙，挂着一只小水獭]。
- 有同事拾到[手表一只|耳机一副|儿童水壶一个|帽子一顶|饭盒一个|U盘一只，已交信息安全组|手套一双|充
电器一个]，地点在[电梯|楼梯间|展厅|会议室|停车场|多功能厅]，时间是{date}{daypart}。
=
- 失主请到前台找{colleague}认领，说出[颜色|样子|特征]即可。{n:2-4}周没有人领的，交给工会处理。
- 请丢东西的同事想一想，当时{weather}，您是不是走得太急？认领请找{colleague}。
"""

UPKEEP = """
=
- 因[电梯年检|水泵更换|空调清洗|网络割接|外墙修补|地坪翻新|消杀除虫]，{date}{daypart}[东侧楼梯|二
层走廊|校准室|展厅|多功能厅|货梯]暂停使用，预计{n:2-8}小时。
- 接物业通知，{date}要做[管道检修|空调清洗|玻璃擦洗|门禁升级]，期间[有噪声|有水渍|门会敞开|会短时
断网]，请各位谅解。
=
- 请附近的部门提前把[精密仪器|图纸|样品|绿植]挪开，别等到当天才动手。{product}要盖好罩子，
做完以后重新检查，上回就因为疏忽，{symptom}。
- 这一区的{product}有{n:2-9}{measure}，请{engineer}安排盖罩、断电、登记，恢复以后先{check}，
再交给大家用。
- 有急用的，可以到[隔壁楼层|生产基地|研发中心]借设备，联系人{colleague}。用完请{extra}。
=
- 给您添麻烦了。[行政部|总务组]　{date2}
- 有疑问打给{colleague}，电话{phone}。[行政部|总务组]　{date2}
"""

EXTRA_LEXICON: dict[str, tuple[str, ...]] = {
    "adverb": ("最近", "时不时", "总是", "忽然", "一到下午就", "换了地方以后"),
    "week": ("一", "二", "三", "四", "五"),
    "extra": (
        "补贴一张速查卡",
        "把旧件带回分析",
        "教会当班的人",
        "把设置拍照存档",
        "留下一份书面说明",
        "清理机身的积灰",
        "核对设备的时间",
        "更新设备档案",
        "贴上新的检查标签",
        "把线缆重新理顺",
        "写好交接单",
        "把案例发到内部网",
        "顺便检查邻近的两台",
        "演示一遍正确的步骤",
    ),
    "topic": (
        "电话里怎样问问题",
        "一支电极的一生",
        "配平为什么是头等大事",
        "从曲线看毛病",
        "水样该怎么取",
        "静电那些事",
        "备件箱的整理",
        "怎样写一份看得懂的记录",
        "校准和检定有什么不同",
        "雨季的准备",
        "和上了年纪的用户打交道",
        "照片怎样拍才有用",
        "误差从哪里来",
        "工具的保养",
        "安全从弯腰开始",
        "怎样教会别人",
        "冬天的仪器怕什么",
        "客户没有说出口的话",
        "包装里的学问",
        "一滴水的旅行",
        "读懂故障码",
        "平均值会骗人",
        "标签应该怎样贴",
        "夜里的电话",
        "田间地头的网络",
        "显微镜下的小世界",
    ),
}
