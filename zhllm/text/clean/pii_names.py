"""Addresses and account names: e-mail, IP, WeChat, QQ, number plates.

Words, reserved ranges and tables of domains and provinces stand in for the checksum these kinds lack.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from zhllm.text.clean.pii_kinds import Found, before, words

# RFC 5321: 64 characters before the @ and 255 after it; so each @ costs a bounded search.
_LOCAL_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._%+-"
_LOCAL_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_+-])?")
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?[.]){1,8}(?P<top>[A-Za-z]{2,24})(?![A-Za-z0-9_-]|[.@][A-Za-z0-9\[])"
)
_USER_OF_URL = re.compile(r"://[!-~]*\Z")
_REMOTE_SHELL = re.compile(r"\b(?:ssh|scp|sftp|rsync)\s[^\n]*\Z")
_PATH = re.compile(r":~|:[A-Za-z0-9_.-]{0,64}/")

_IPV4 = re.compile(
    r"(?<![0-9A-Za-z_])(?<![0-9A-Za-z][.-])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9A-Za-z_]|[.-][0-9A-Za-z]|/[0-9]{1,2}(?![0-9.]))"
)
_IPV6 = re.compile(
    r"(?<![0-9A-Za-z_:.])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![0-9A-Za-z_:.\[]|/[0-9]{1,3}(?![0-9A-Fa-f:]))"
)
_VERSION = re.compile(
    r"(?:[Vv]ers?(?:ion)?\.?|[Vv]|版本号?|版|[A-Za-z][/_-]|第|[章节条款图表附录§#])\s{0,2}[:：=]?\s?\Z"
)
_ADDRESS_WORD = re.compile(r"(?i)\bip|地址|host|主机|服务器|ping|server|addr|登录|访问|节点|://|@")
PRIVATE = ("10.", "127.", "192.168.", "0.")  # most addresses of manuals, known before they are parsed
_SMALL = 31  # section numbers and versions have small parts

_WECHAT = re.compile(
    r"(?:(?P<number>微信(?:账号|帐号|号码|号|[Ii][Dd])|[Ww]e[Cc]hat\s?(?:[Ii][Dd]|号)|[加+]我?(?:微信?|薇信?|[Vv]信)"
    r"|加[Vv](?![A-Za-z])|[Vv]信号?|(?<![A-Za-z0-9])[VvWw][Xx]号)"
    r"|(?P<name>微信|薇信|[Ww]e[Cc]hat|(?<![A-Za-z0-9_./+=-])\+?[VvWw][Xx]))"
    r"(?:联系|咨询|搜索|搜|添加|请加)?(?P<sep>[是为：:= \t（(“\"'「【]{0,4})"
    r"(?P<id>[A-Za-z][-_A-Za-z0-9]{5,19})(?![-_A-Za-z0-9@]|\.[A-Za-z0-9])"
)
_WECHAT_LEAD = re.compile("[微薇加+WwVv]")
_WXID = re.compile(r"(?<![A-Za-z0-9_-])wxid_[a-z0-9]{12,20}(?![-_A-Za-z0-9])")
_NO_ID = re.compile(r"(?i)(?:we-?chat|weixin|android|iphone|windows|openid|unionid|pay|login|official|developer|mini)")

_QQ = re.compile(
    r"(?:(?<![A-Za-z0-9])(?:QQ|qq|Qq)|扣扣|企鹅号|(?<![A-Za-z0-9])[Qq]群)(?:群|号码|号|交流|联系|咨询|客服|[/、与和及]?(?:微信|VX|手机|电话)(?:同号|号)?)*"
    r"[是为：:= \t（(“\"'「【]{0,4}(?P<list>[1-9][0-9]{4,10}(?![0-9A-Za-z_]|[.][0-9])"
    r"(?: ?[、，,/或和] ?[1-9][0-9]{4,10}(?![0-9A-Za-z_]|[.@][0-9a-z])){0,8})(?!@)"
)
_QQ_LEAD = re.compile("[Qq扣企]")
_QQ_NUMBER = re.compile(r"[0-9]{5,11}")
_A_DATE = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")

_AREA = "[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z]"
_PLATE = re.compile(
    rf"(?P<area>{_AREA})(?P<sep>[·. -]?)(?P<serial>[DABCEFGHJK][A-HJ-NP-Z0-9][0-9]{{4}}|[0-9]{{5}}[DF]|"
    r"(?=[A-HJ-NP-Z]{0,5}[0-9])[A-HJ-NP-Z0-9]{4}[A-HJ-NP-Z0-9警学挂领港澳])(?![A-Za-z0-9_]|[-.][A-Za-z0-9])"
)
_NO_PROVINCE = re.compile(r"(?:[更最全重刷翻创革][新]|[里讯为端上私公]云|[年]青|[珍昂]贵)\Z")


def find_emails(text: str, ats: list[int]) -> Iterator[Found]:
    """E-mail addresses of persons: no service mailboxes (RFC 2142), no examples (RFC 2606), no `git@host:path`."""
    for at in ats:
        domain = _DOMAIN.match(text, at + 1, at + 260)
        if not domain:
            continue
        head = text[max(0, at - 66) : at]
        local = head[len(head.rstrip(_LOCAL_CHARS)) :]
        start = at - len(local)
        if _LOCAL_PART.fullmatch(local) and _is_personal(local, domain) and not _is_login(text, start, domain.end()):
            yield Found("email", start, domain.end())


def _is_personal(local: str, domain: re.Match[str]) -> bool:
    top, name = domain["top"].lower(), domain[0].lower()
    if top not in words("top_level") and top not in words("country_level"):
        return False
    if any(name == reserved or name.endswith("." + reserved) for reserved in words("reserved_domains")):
        return False
    if name.startswith(("lists.", "list.")) or ".." in local:
        return False
    return local.lower() not in words("role_mailboxes") | words("made_up_mailboxes")


def _is_login(text: str, start: int, end: int) -> bool:
    """Whether user@host is an account on a machine: in a URL, before a path, after ssh."""
    head = text[max(0, start - 100) : start]
    return bool(_USER_OF_URL.search(head) or _PATH.match(text, end) or _REMOTE_SHELL.search(head))


def find_addresses(text: str, starts: list[int]) -> Iterator[Found]:
    """IP addresses that lead to somebody: private, reserved and documentation ranges and known resolvers do not."""
    for start in starts:
        match = _IPV4.match(text, start)
        if not match or match[0].startswith(PRIVATE) or not _is_host(match[0]):
            continue
        if not _VERSION.search(text, max(0, start - 12), start):
            small = max(map(int, match[0].split("."))) <= _SMALL
            if not small or _ADDRESS_WORD.search(before(text, start, 20)):
                yield Found("ip", *match.span())


def find_long_addresses(text: str, starts: list[int]) -> Iterator[Found]:
    """IPv6 addresses of the public range 2000::/3."""
    for start in starts:
        match = _IPV6.match(text, start)
        if match and _is_host(match[0]):
            yield Found("ip", *match.span())


def _is_host(value: str) -> bool:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    if value.endswith(".0") or value.count(value.split(".")[0]) == 4:  # a network; 123.123.123.123
        return False
    return address.is_global and not address.is_multicast and value not in words("public_resolvers")


def find_wechat(text: str, start: int, end: int) -> Iterator[Found]:
    """WeChat ids (6 to 20 letters, digits, - and _, a letter first) after a word that names them."""
    for lead in _WECHAT_LEAD.finditer(text, start, end):
        match = _WECHAT.match(text, lead.start(), end)
        if match and not _NO_ID.match(match["id"]) and _is_wechat_id(match):
            yield Found("wechat", *match.span("id"))
        elif own := _WXID.match(text, lead.start(), end):
            yield Found("wechat", *own.span())


def _is_wechat_id(match: re.Match[str]) -> bool:
    odd = any(c.isdigit() or c in "-_" for c in match["id"])
    if match["number"]:
        return True
    return odd or (match["name"] in ("微信", "薇信") and (":" in match["sep"] or "：" in match["sep"]))


def find_qq(text: str, start: int, end: int) -> Iterator[Found]:
    """QQ numbers, 5 to 11 digits, after a word that names them; in a list each of them."""
    for lead in _QQ_LEAD.finditer(text, start, end):
        match = _QQ.match(text, lead.start(), end)
        for number in _QQ_NUMBER.finditer(text, *match.span("list")) if match else ():
            if not _A_DATE.fullmatch(number[0]):
                yield Found("qq", *number.span())


def find_plates(text: str, starts: list[int]) -> Iterator[Found]:
    """Number plates (GA 36-2018): province, letter and five characters, six for new-energy cars."""
    for start in starts:
        match = _PLATE.match(text, start)
        is_plate = match is not None and sum("A" <= c <= "Z" for c in match["serial"]) <= 2
        if match and is_plate and not _NO_PROVINCE.search(text, max(0, start - 1), start + 1):
            yield Found("plate", *match.span())
