"""Chat templates with the switches that makers give theirs, cut to what a chat without tools runs through.

Written for the tests; `parity/test_makers_templates.py` compares with the whole ones, where TRL's package holds them.
"""

from __future__ import annotations

from dataclasses import replace

from zhllm.text.prompt_format import FORMATS

_TURN = "<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>"
# Of Llama-3.1, and of Llama-3.2: the day is asked for where it can be.
LLAMA31 = (
    "{{- bos_token }}{%- if not date_string is defined %}{%- set date_string = '26 Jul 2024' %}{%- endif %}"
    "{%- if messages[0].role == 'system' %}{%- set system_message = messages[0].content | trim %}"
    "{%- set messages = messages[1:] %}{%- else %}{%- set system_message = '' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}"
    "{{- 'Cutting Knowledge Date: December 2023\nToday Date: ' + date_string + '\n\n' }}"
    "{%- if tools %}{{- tools | tojson }}{%- endif %}{{- system_message + '<|eot_id|>' }}"
    "{%- for message in messages %}{{- '" + _TURN + "' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
LLAMA32 = LLAMA31.replace(
    "{%- set date_string = '26 Jul 2024' %}",
    "{%- if strftime_now is defined %}{%- set date_string = strftime_now('%d %b %Y') %}"
    "{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}",
)
# Of Qwen3: no thoughts but behind the last question, and there empty ones where none are given.
QWEN3 = (
    "{%- if tools %}{{- tools | tojson }}{%- endif %}"
    "{%- set ns = namespace(last=-1) %}{%- for message in messages %}{%- if message.role == 'user' %}"
    "{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}"
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.role == 'assistant' and loop.index0 > ns.last %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{{- message.content + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)
_PREAMBLE = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
_SYSTEM = FORMATS["llama3"].system
DATED = replace(FORMATS["llama3"], system=(_SYSTEM[0] + _PREAMBLE, _SYSTEM[1]), default_system="")
THOUGHTLESS = replace(FORMATS["chatml"], thoughts="<think>\n\n</think>\n\n")
# By name: the template, the format that it is, the switches that it is rendered with.
MAKERS = {
    "llama3.1": (LLAMA31, DATED, {"date_string": "26 Jul 2024"}),
    "llama3.2": (LLAMA32, DATED, {"date_string": "26 Jul 2024"}),
    "qwen3": (QWEN3, THOUGHTLESS, {"enable_thinking": False}),
}
