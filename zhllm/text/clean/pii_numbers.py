"""Telephone, ID-card and bank-card numbers: what is written between digits, checksums and the words before.

Checksums decide where there are any (GB 11643-1999 for ID cards, ISO/IEC 7812-1 for cards); numbers
without one need a numbering plan and either their usual grouping or a word that names them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

from zhllm.text.clean.pii_kinds import PLACEHOLDERS, Found, before, in_url, words

_S = "[ -]"  # what people put between groups of digits; other hyphens are folded
_LEFT = r"(?<![0-9A-Za-z_$])(?<![0-9]\.)"
_RIGHT = r"(?![0-9A-Za-z_$]|\.[0-9])"

_PREFIX = "(?:" + "|".join(sorted(words("mobile_prefixes"))) + ")"
_COUNTRY = rf"(?:(?:\+|(?<![0-9A-Za-z_+])(?:00)?)86{_S}{{0,2}}|[（(]\+?86[)）]{_S}?)"
_MOBILE = re.compile(
    rf"(?:{_COUNTRY}|{_LEFT})"
    rf"(?P<number>{_PREFIX}(?:[0-9]{{8}}|(?P<sep>{_S})[0-9]{{4}}(?P=sep)[0-9]{{4}}"
    rf"|(?P<loose>{_S}(?:[0-9]{{8}}|[0-9]{{3}}{_S}[0-9]{{5}})|[0-9]{_S}(?:[0-9]{{3}}{_S}[0-9]{{4}}|[0-9]{{4}}{_S}[0-9]{{3}})"
    rf"|[0-9]{{2}}{_S}[0-9]{{6}}|[0-9]{{3,4}}{_S}[0-9]{{4,5}}))){_RIGHT}"
)
# All digits with what may stand between them; at least a local number.
_CLUSTER = re.compile(r"[0-9](?:[ ()（）-]{0,5}[0-9]){6,}")
_GROUP = re.compile("[0-9]+")
_ELEVEN = re.compile(rf"{_PREFIX}[0-9]{{8}}")
_PHONE_WORD = re.compile(
    r"电话|電話|手机|手機|联系|聯繫|致电|拨打|来电|传真|座机|固话|热线|短信|微信同号|客服"
    r"|[Tt]el|TEL|[Pp]hone|PHONE|[Mm]obile|MOBILE|[Ff]ax|FAX|[Cc]ell|☎|📞|📱|☏"
)
# 13812345678 元 is an amount; 订单号 13812345678 is an order.
_UNIT = re.compile(r" ?(?:[万亿]?(?:元|美元|字节|[KMGTkmgt]?[Bb]\b|bytes|次|条|行|个|人|吨|米|秒|毫秒|纳秒)|[%％])")
_OTHER_NUMBER = re.compile(
    r"(?:订单|单号|编号|流水|序列|序号|工号|学号|货号|批号|案号|证书|条码|书号|金额|总额|大小|代码|税号|识别号|发票|时间戳"
    r"|[Ii][Dd]|TSO|ISBN|IMEI|ISSN)[^0-9\n]{0,8}\Z"
)
_KEY = re.compile(r"([A-Za-z_][\w.-]*)[\"'`]?\s*(?:[=:<>]=?|=>)\s*[\"'`]?\Z")
_PHONE_KEY = re.compile(r"(?i)phone|mobile|tel|cell|sms|contact|shouji|dianhua|fax")

_LOCAL = rf"[1-9][0-9]{{2,3}}{_S}?[0-9]{{4}}"
_LANDLINE = re.compile(
    rf"(?:(?<![0-9A-Za-z_+])(?P<country>(?:\+|\b00)86{_S}{{0,2}}(?:[（(]0[)）])?|86-)|(?=[（(])|{_LEFT})"
    rf"(?P<open>[（(] ?)?"
    rf"(?P<area>0?(?:10|2[0-9]|[3-9][0-9]{{2}}))(?P<sep> ?[)）]?{_S}{{0,3}})(?P<local>{_LOCAL})(?![0-9])"
    rf"(?P<more>(?: ?[/、] ?{_LOCAL}(?![0-9]))*)"
    rf"(?P<ext>(?: ?(?:转|分机号?|[Ee]xt\.?|#|-) ?[0-9]{{1,5}}(?![0-9]))?){_RIGHT}"
)
_CLOSING = re.compile("[)）]")
_LOCAL_ONLY = re.compile(rf"[2-8][0-9]{{2,3}}{_S}?[0-9]{{4}}(?: ?(?:转|分机号?|-) ?[0-9]{{1,5}})?{_RIGHT}(?!{_S}[0-9])")
_LINE_WORD = re.compile(r"(?:电话|電話|座机|固话|传真|TEL|[Tt]el|FAX|[Ff]ax)(?:号码|号)?[.：: ]{0,3}\Z")

_ID = re.compile(
    rf"{_LEFT}(?:[0-9]{{6}}(?P<a>{_S}?)[0-9]{{4}}{_S}?[0-9]{{4}}(?P=a)[0-9]{{3}}[0-9Xx]"
    rf"|(?:[0-9]{{4}}{_S}){{4}}[0-9][0-9Xx]|[0-9]{{3}}{_S}[0-9]{{3}}{_S}[0-9]{{4}}{_S}[0-9]{{4}}{_S}[0-9]{{3}}[0-9Xx])"
    rf"{_RIGHT}"
)
_OLD_ID = re.compile(rf"{_LEFT}[1-9][0-9]{{14}}{_RIGHT}")
_ID_WORD = re.compile(r"身份证|身分证|证件号|公民身份号码")

_CARD = re.compile(
    rf"{_LEFT}(?:(?P<plain>[0-9]{{12,21}})|(?P<fours>[0-9]{{4}}(?P<b>{_S})[0-9]{{4}}(?P=b)[0-9]{{4}}(?P=b)[0-9]{{4}}"
    rf"(?:(?P=b)[0-9]{{1,3}})?)|[0-9]{{4,6}}(?:{_S}[0-9]{{4,15}}){{1,4}}(?:{_S}[0-9]{{1,3}})?){_RIGHT}"
)
_CARD_WORD = re.compile(r"(?:卡号|卡號|银行卡|账号|帐号|账户|帐户|信用卡|借记卡|储蓄卡)[^0-9\n]{0,8}\Z")
_BANK_WORD = re.compile(r"卡号|银行|账号|帐号|账户|帐户|开户|信用卡|借记卡|储蓄卡|汇款|转账|打款|收款|[工农中建招交]行")
_ACCOUNT_WORD = re.compile(r"开户|银行|信用社|对公")
# Issuer prefixes (ISO/IEC 7812, lengths as the schemes give them); 9558 and 9559 are old debit cards of 工行 and 农行.
_ISSUER = re.compile(
    r"62[0-9]{14,17}|4[0-9]{15}|5[1-5][0-9]{14}|2(?:2[2-9]|[3-6][0-9]|7[01])[0-9]{13}|3[47][0-9]{13}|35[2-8][0-9]{13}"
    r"|3(?:0[0-5]|[68][0-9])[0-9]{11}|60[0-9]{14,17}|955[89][0-9]{15}|81[0-7][0-9]{13,16}"
)
_UNION_PAY = re.compile(r"62[0-9]{14,17}")


_DIGITS_OR_X = re.compile("[0-9Xx]+")


def digits_of(value: str) -> str:
    """The digits (and a final X) of a written number."""
    return "".join(_DIGITS_OR_X.findall(value)).upper()


def is_luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B: doubled every second digit from the right, the sum is a multiple of ten."""
    total = sum(map(int, digits[-1::-2]))
    return (total + sum(sum(divmod(2 * int(d), 10)) for d in digits[-2::-2])) % 10 == 0


def id_check_digit(first17: str) -> str:
    """ISO 7064 MOD 11-2 as GB 11643-1999 uses it."""
    return "10X98765432"[sum(int(d) * (2 ** (17 - i) % 11) for i, d in enumerate(first17)) % 11]


def is_id_card(digits: str) -> bool:
    """Whether 18 characters are an ID number: place, birthday and check digit (GB 11643-1999).

    9 and the province open the permanent-residence card of foreigners (2023 form).
    """
    place = digits[1:3] if digits[0] == "9" else digits[:2]
    return place in words("id_provinces") and _is_birthday(digits[6:14]) and id_check_digit(digits[:17]) == digits[17]


def _is_birthday(eight: str) -> bool:
    try:
        return 1900 <= date(int(eight[:4]), int(eight[4:6]), int(eight[6:])).year < 2050
    except ValueError:
        return False


def find_numbers(text: str, start: int, end: int) -> Iterator[Found]:
    """Numbers that stand between two offsets, overlapping ones too."""
    for cluster in _CLUSTER.finditer(text, start, end):
        first = cluster.start()
        digits = sum(map(cluster[0].count, "0123456789"))
        for group in _GROUP.finditer(text, first, cluster.end()):
            at = group.start()
            yield from _landlines(text, at, end)
            if digits >= 11:
                yield from _mobiles(text, at, end)
            if digits >= 12:
                yield from _bank_cards(text, at, end)
            if digits >= 15:
                yield from _id_cards(text, at, end)
        local = _LOCAL_ONLY.match(text, first, end)
        if local and _LINE_WORD.search(text, max(0, first - 9), first):
            yield Found("landline", *local.span())


def _with_sign(text: str, at: int) -> int:
    """Where a number starts whose first digit is at a place: at its bracket or plus sign."""
    while at and text[at - 1] in "+(（":
        at -= 1
    return at


def _id_cards(text: str, at: int, end: int) -> Iterator[Found]:
    match = _ID.match(text, at, end)
    if match and is_id_card(digits_of(match[0])) and not in_url(text, at):
        yield Found("id_card", *match.span())
    old = _OLD_ID.match(text, at, end)
    is_old = old and old[0][:2] in words("id_provinces") and _is_birthday("19" + old[0][6:12])
    if old and is_old and _ID_WORD.search(before(text, at, 20)):
        yield Found("id_card", *old.span())


def _bank_cards(text: str, at: int, end: int) -> Iterator[Found]:
    match = _CARD.match(text, at, end)
    if match:
        digits = digits_of(match[0])
        is_long = 12 <= len(digits) <= 21
        if is_long and (_is_named_card(text, at, digits) or _is_bare_card(text, match, digits)):
            yield Found("bank_card", *match.span())


def _is_named_card(text: str, start: int, digits: str) -> bool:
    """Whether a word before says that it is a card: then a wrong check digit is a slip of the pen."""
    if _CARD_WORD.search(before(text, start, 20)):
        if _UNION_PAY.fullmatch(digits):
            return True
        if _ACCOUNT_WORD.search(before(text, start, 50)):
            return True
    is_card = _ISSUER.fullmatch(digits) is not None and is_luhn(digits)
    return is_card and _BANK_WORD.search(before(text, start, 24)) is not None


def _is_bare_card(text: str, match: re.Match[str], digits: str) -> bool:
    """Whether digits with no word before are a card and nothing else."""
    if not (match["plain"] or match["fours"]) or not _ISSUER.fullmatch(digits) or not is_luhn(digits):
        return False
    return not _is_other(text, match.start(), match.end())


def _is_other(text: str, start: int, end: int) -> bool:
    """Whether what stands around a number says that it is something else: an amount, a key, a part of a row."""
    line = text[max(text.rfind("\n", 0, start) + 1, start - 40) : start]
    key = _KEY.search(line)
    if key and not _PHONE_KEY.search(key[1]):
        return True
    if _UNIT.match(text, end) or _OTHER_NUMBER.search(line) or in_url(text, start):
        return True
    return _is_joined(text, start, end)


_VALUE_START = "(?:[0-9A-Za-z]|" + "|".join(map(re.escape, PLACEHOLDERS.values())) + ")"
_JOINED_LEFT = re.compile(rf"{_VALUE_START}{_S}\Z")
_JOINED_RIGHT = re.compile(rf"{_S}{_VALUE_START}|,[0-9]{{3}}(?![0-9-])")


def _is_joined(text: str, start: int, end: int) -> bool:
    """Whether a hyphen joins a number to another, or spaces set its groups in a row of numbers."""
    spaced = " " in text[start:end]
    left, right = _JOINED_LEFT.search(text, max(0, start - 8), start), _JOINED_RIGHT.match(text, end)
    if left and (left[0][-1] != " " or (spaced and left[0][0] not in _LETTERS)):
        return not _ELEVEN.search(text, max(0, start - 12), start)
    if right and (right[0][0] != " " or (spaced and right[0][-1] not in _LETTERS)):
        return right[0][0] == "," or not _ELEVEN.match(text, end + 1)
    return False


_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _mobiles(text: str, at: int, end: int) -> Iterator[Found]:
    if text[at] not in "108":
        return
    match = _MOBILE.match(text, _with_sign(text, at), end) or _MOBILE.match(text, at, end)
    if not match or in_url(text, at):
        return
    number = int(digits_of(match["number"]))
    # 17179869184 is 16 GiB and 13000000000 a round sum.
    is_odd = match["loose"] or number % 2**20 == 0 or number % 10**7 == 0
    if _PHONE_WORD.search(before(text, match.start(), 16)) or not (
        is_odd or _is_other(text, match.start(), match.end())
    ):
        yield Found("mobile", *match.span())


def _landlines(text: str, at: int, end: int) -> Iterator[Found]:
    start = _with_sign(text, at)
    if start == at and text[at] not in "08":
        return
    match = _LANDLINE.match(text, start, end) or _LANDLINE.match(text, at, end)
    if match and _is_landline(match) and not in_url(text, at):
        marked = _CLOSING.search(match["sep"]) or match["country"] or "转" in match["ext"] or "-" in match["sep"]
        is_bare = not marked or _is_joined(text, match.start(), match.end())
        if not is_bare or _PHONE_WORD.search(before(text, match.start(), 16)):
            yield Found("landline", *match.span())


def _is_landline(match: re.Match[str]) -> bool:
    """Whether the area code exists, has its bracket and country code, and the number its length."""
    is_abroad = match["country"] is not None
    area = match["area"] if match["area"][0] == "0" else "0" + match["area"]
    if area not in words("area_codes") or (match["area"][0] != "0") != is_abroad:
        return False
    if len(area) == 3 and len(digits_of(match["local"])) != 8:
        return False
    return (_CLOSING.search(match["sep"]) is not None) == (match["open"] is not None)
