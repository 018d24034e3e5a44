"""Plots of the work orders, meetings, weekly reports, logs and calibration reports."""

ORDER_TEXT = """
=
- 故障描述：用户{contact}反映，{symptom}，{stake}。
- 故障描述：{symptom}，{date}{daypart}开始出现，[时好时坏|一直如此|越来越频繁]。
- 故障描述：据{channel}登记，{place}{org}的{product}[有毛病|出了问题|不正常]，{symptom}，
用户{mood}。
- 故障描述：{symptom}。用户自行[重启|更换插座|清洁]后没有改善。
=-
- 检查经过：{engineer}{check}，确认{cause}，[其余部件正常|外观完好|编号与档案一致]。
- 检查经过：先看环境，再看机身，随后{check}，结论是{cause}。
- 检查经过：{check}，发现{cause}；用{tool}复查一遍，结论相同。
- 检查经过：远程指导用户{check}，照片显示{cause}。
=-
- 处理措施：{cure}。
- 处理措施：{cure}，并{extra}。
- 处理措施：现场{cure}，用时{n:15-150}分钟；{extra}。
- 处理措施：收到配件以后{cure}。因为{delay}，比约定晚了[半天|一天]，已向用户致歉。
=-
- 处理结果：{result}，用户{thanks}。
- 处理结果：{result}，连续观察{n:2-7}天，未见异常。
- 处理结果：{result}，经{colleague}复核，同意关闭。
=-
- 给用户的建议：{advice}。
- 备注：{advice}，已当面说明，用户在{paper}上签字。
- 备注：{lesson}。另外叮嘱用户：{advice}。
=-?
- 满意度：{n:3-5}分。用户原话：“[来得挺快|讲得明白|态度好|早点来就更好了|以后就找你们]。”
- 随单附件：[速查卡一张|现场照片三张|签收单一份|旧件一袋|检查录像一段]，已[归档|交仓库|请用户签收|
存入设备档案]。
- 回访：{n:3-30}天后由{colleague}回访，[情况良好|没有复发|用户又订了一套耗材|用户希望再来讲一次
课]。
"""

LOG_LINE = """
=
- {product}（{place}{org}）{symptom}；{check}，{cause}；{cure}，{result}。{engineer}记。
- {contact}（{place}）来电，{product}[有毛病|出了问题|不正常]，{symptom}，嘱其{check}，{delay}，
待跟进。{engineer}。
- 巡检{org}的{product}，{weather}，一切正常，擦拭机身，{extra}。{engineer}、{colleague}。
- 收{place}寄来的{product}一{measure}，附言“{symptom}”，已登记编号{code}，排队检测。
- {product}（编号{code}）修毕，{result}，装箱寄回{place}{org}，附一张纸条：{advice}。
- 与{place}{org}的{contact}约定{n:2-9}天后上门，带{tool}、{tool}，[先打电话再出发|走东边的路]。
- 交接：{colleague}手上的{product}（{place}）转给{engineer}，原因是{delay}，已完成的步骤是
{check}。
- 上次修过的{product}（{place}{org}）回访，{result}，{contact}{thanks}。
- 整理备件箱，补充{tool}和{tool}，清点{n:20-90}件，账物[相符|差一件，已查明]。{engineer}。
- 现场天气：{weather}。{product}[有毛病|出了问题|不正常]，{symptom}。{cause}。{cure}。
{engineer}体会：{lesson}。
- 接{channel}转来的问题：{symptom}，是{org}的{product}，请{engineer}今日内答复。
- 编号{code}的{product}复检第{n:2-6}天，数据平稳，{result}，准备关单，由{colleague}签字。
"""

WEEKLY = """
=
- [一、本周概况|一、总体情况]¶本周[共|一共]受理{n:21-68}件，其中电话{n:8-20}件、上门{n:3-9}件、返
修{n:2-8}件，比上周[多|少]{n:1-9}件。{product}的问题[最多|占了头一位]，其次是{product2}。
- [一、这一周做了什么|一、概况]¶{weather}，来电[不多|比较集中]，受理{n:20-60}件，
[大半已经办结|办结了八成|剩下几件在等备件]。来电最集中的是[星期一上午|星期三下午|周末|雨后的两
天]，问得最多的是{product}。
- 一、数字¶来电{n:30-90}个，平均通话{n:4-12}分钟；上门{n:3-10}次，跑了{n:200-1900}公里；
寄回修理{n:2-11}{measure}，寄出{n:2-11}{measure}。
=-
- [值得说的是|印象最深的是]{place}{org}的那一件：{symptom}。{engineer}{check}，弄清楚是{cause}，
{cure}以后，{result}。
- 典型案例：{place}{org}的{product}[有毛病|出了问题|不正常]，{symptom}，{cause}，{cure}，
{result}，{contact}{thanks}。
- 有一件拖得比较久。{place}{org}的{contact}说{symptom}，{delay}，直到{date}才{cure}，{result}。
=-
- 二、[问题与分析|发现的苗头]¶{product2}这一周出现{n:2-6}次“{symptom2}”，查下来多是{cause2}，
不是质量问题，但说明书的提示还不够醒目，建议把“{advice2}”提到前面去。
- 二、原因¶{symptom2}的情况集中在{place2}一带，[天气|水质|使用习惯|运输]可能有关。
{colleague}{check2}，看到{cause2}，准备继续跟踪。
- 二、改进¶针对{product2}“{symptom2}”，客服的话术改为：先请用户{check2}，再判断是不是{cause2}，
最后才谈寄修。
=-
- 三、[人员与培训|队伍]¶{colleague}带新人去了{place2}，体会是{lesson}。[周四|周五]内部分享由
{engineer}主讲，题目是“{topic}”。
- 三、备件¶{tool}还剩{n:5-40}件，{tool}[够用|偏少，已申购]。{delay}，以后要提前{n:2-6}天备货。
- 三、学习¶{engineer}写了一篇短文，标题是“{topic}”，核心意思是{lesson}。
=-
- 四、下周[安排|计划]¶{engineer}去{place}，[复查|安装|走访]{n:2-6}家；{colleague}留守，
整理“{topic}”的资料；{place2}{org2}的{product2}等配件到货后处理。
- 四、下周打算¶回访{n:8-26}家用户，重点问一问有没有记住“{advice}”；{extra}；要是天气不好，
野外的活儿往后放。
- 四、需要支持¶请[仓库|研发|质量部|市场部]协助：[补充备件|解释一项参数|复核一批校准液|赠送速查
卡]。请{colleague}在周{week}之前把“{topic}”的初稿拿出来。
"""

MINUTES = """
=
- 时间：{date}[上午九点半|下午两点|下午三点一刻|上午十点]　地点：[听风会议室|三号会议室|校准室旁的
小会议室|客服大厅]　主持：{engineer}　记录：{colleague}
- 时间：{date}　地点：[二号会议室|线上|资料室]　参加：{engineer}、{colleague}、{colleague2}等
{n:5-14}人　记录：{colleague2}
=+
- 会议先通报了上次[待办|议定事项]的进展：{n:4-9}项办完了大半，没有办完的原因是{delay}。
- {engineer}开场说，今天只议两件事，一件是“{topic}”，一件是{product}的[改进|备件|说明书|售后数
据]，[不扯远|一个小时散会]。
- 开会之前，{colleague}放了一段现场的录像：{place}{org}，{weather}，{product}[有毛病|出了问题|不正
常]，{symptom}，[大家看得很认真|会议室里安静了一会儿]。
=+
- 议题一：{product}“{symptom}”。{colleague}介绍，近来收到{n:3-12}例，{check}之后发现，
多数是因为{cause}。{colleague2}认为，{lesson}。讨论后一致同意：对已有的用户，{cure}；对新的用户，
在开箱的纸条上写明“{advice}”。
- 议题一：怎样减少{product}的返修。{engineer}说，返修的机器里，有一部分其实不用寄回来，
例如{symptom}，只要{cure}，{result}。{colleague}建议录一段短片，[三分钟|五分钟]讲清楚怎样{check}。
大家同意，由{colleague2}负责。
- 议题一：{place}{org}的投诉。{colleague}说明经过：{symptom}，{delay}，客户{mood}。
{colleague2}认为根子是{cause}，我们解释得不够。决定由{engineer}登门，{cure}，并当面{extra}。
=+
- 议题二：{topic}。[发言很踊跃|意见不太一致]。一种看法是[先易后难|先试点再推开|宁缺毋滥]，
另一种看法是[一步到位|各组自己定|请客户来评]。{engineer}归纳说，{lesson}，先在{place2}试{n:2-6}个
月，再定。
- 议题二：{product2}的新情况，也就是{symptom2}。{colleague2}汇报了{check2}的结果，指出{cause2}。
质量上没有缺陷，但用户不容易想到，决定把“{advice2}”加进培训课件，{colleague}{n:3-9}日之内改好。
- 议题二：{topic}。{colleague}念了一封{place2}{org2}的来信，信里说{result2}，也提了批评：[等得太
久|说得太深|表格太多|电话难打]。会议认为批评得对，从[下周|下月]起改。
=+
- 议定事项：（一）{engineer}负责{extra}，{n:5-20}日前完成；（二）{colleague}整理“{topic}”的资料；
（三）{colleague2}把{product}的案例写成一页纸，重点写怎样{check}。
- 会议决定：（一）速查卡增加一条——{advice}；（二）{colleague}牵头“{topic}”，每两周报一次进展；
（三）{tool}每组配{n:2-5}件，由{colleague2}领取。
- 结论：一、{product}的提示语按今天的意见改；二、{engineer}去{place}回访，看看是不是{result}；
三、下次会议请{colleague}讲“{topic}”。
=?
- 散会前，{colleague2}提醒，这几天{weather}，外出注意安全，[带好水|带好雨具|不赶夜路]。
- 会上没有说完的，[留到下次|会后单独谈]。会议历时{n:35-95}分钟。
"""

CALIBRATION = """
=
- 受{place}{org}委托，{date}对一{measure}{product}（编号{code}）进行了校准。环境温度{n:18-25}摄氏
度，相对湿度{n:38-66}%，[大气压力正常|无明显振动|无强光直射]。
- 送检单位：{place}{org}。仪器：{product}，编号{code}。收样日期：{date}。外观检查：[完好|有轻微划
痕，不影响使用|铭牌清晰|底部有锈迹，已清理]。
- 本报告记录{product}（编号{code}）的校准情况。该仪器由{place}{org}的{contact}送来，
送检的理由是{symptom}。
=-
- 校准之前，{engineer}按规定预热并清洁，随后{check}。结果表明，{cause}，因此先{cure}，
再正式记录数据。
- 正式校准之前先处理了一个毛病：{cause}。{cure}之后，{result}，再逐点记录数据。
- 仪器到达时可以正常开机。用户附言写着“{symptom}”，检查中确认{cause}，已{cure}。
=-
- {points}
=-
- 结论：各点的示值误差均在允许的范围之内，[合格|准予使用|同意出具证书]。校准人{engineer}，
核验人{colleague}。
- 结论：[合格|通过]，重复性[良好|满足要求]。建议用户：{advice}。校准：{engineer}；
核验：{colleague}。
- 结论：修正以后合格。提醒：{advice}。本报告[只对来样负责|未经许可不得部分复印]。
{engineer}、{colleague}签字。
"""
