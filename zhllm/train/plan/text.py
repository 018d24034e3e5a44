"""A plan for people: the numbers of zhllm.train.plan.facts in lines and tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Facts = dict[str, Any]
GIB = 2**30
SHOWN_ROWS = (1, 2, 4, 8, 16)


def as_text(found: Facts) -> str:
    """The whole plan."""
    sections = (_model, _data, _flops, _memory, _new_rows, _time, _options, _recommended)
    return "\n\n".join("\n".join(lines) for section in sections if (lines := list(section(found))))


def _gib(size: float) -> str:
    return f"{size / GIB:,.2f} GiB" if size < 100 * GIB else f"{size / GIB:,.0f} GiB"


def _flops_text(count: float) -> str:
    for power, unit in ((21, "ZFLOPs"), (18, "EFLOPs"), (15, "PFLOPs"), (12, "TFLOPs"), (9, "GFLOPs")):
        if count >= 10**power:
            return f"{count / 10**power:,.2f} {unit}"
    return f"{count / 1e6:,.2f} MFLOPs"


def _model(found: Facts) -> Iterator[str]:
    model, setting = found["model"], found["setting"]
    parts = ", ".join(f"{name} {count:,}" for name, count in model["trainable_by_part"].items() if count)
    yield f"model       {model['parameters']:,} parameters, {model['layers']} layers, {model['vocab_size']:,} rows"
    yield (
        f"trains      {setting['trainable']}: {model['trainable_parameters']:,} parameters "
        f"({model['trainable_share']:.2%}): {parts}"
    )
    yield (
        f"setting     {setting['precision']}, {setting['optimizer']}, {setting['rows_per_step']} rows a step, "
        f"{setting['rows_per_batch']} in memory at once, checkpointing "
        f"{'on' if setting['gradient_checkpointing'] else 'off'}"
    )


def _data(found: Facts) -> Iterator[str]:
    data = found["data"]
    if data["tokens"] is None:
        yield "data        not given (--data, --tokens or --corpus): no steps, no hours"
    else:
        yield f"data        {data['tokens']:,} tokens ({data['from']}), {data['rows']:,} rows of {data['seq_len']:,}"
    if data["steps"] is not None:
        yield (
            f"steps       {data['steps']:,} of {data['tokens_per_step']:,} tokens ({data['epochs']:g} epochs asked): "
            f"{data['trained_tokens']:,} tokens"
        )


def _flops(found: Facts) -> Iterator[str]:
    flops = found["flops"]
    yield (
        f"FLOPs       {_flops_text(flops['total_per_token'])} a token: forward "
        f"{_flops_text(flops['forward_per_token'])}, backward through activations "
        f"{_flops_text(flops['backward_inputs_per_token'])}, weights "
        f"{_flops_text(flops['backward_weights_per_token'])}, done again {_flops_text(flops['recomputed_per_token'])}"
    )
    parts = ", ".join(f"{name} {_flops_text(part['total'])}" for name, part in flops["per_token"].items())
    yield f"            by part: {parts}"
    run = "" if flops["run"] is None else f"; {_flops_text(flops['run'])} in all"
    yield f"            {_flops_text(flops['per_step'])} a step{run}"


def _memory(found: Facts) -> Iterator[str]:
    memory, device = found["memory"], found["device"]
    where = device["gpu"] or ("this device" if memory["limit_bytes"] is not None else "each device")
    verdict = {True: "fits", False: "does not fit", None: "no limit given"}[memory["fits"]]
    limit = "" if memory["limit_bytes"] is None else f" of {_gib(memory['limit_bytes'])}"
    yield f"memory      {_gib(memory['needed_bytes'])}{limit} on {where}: {verdict}"
    for name, size in memory["parts"].items():
        if size:
            yield f"  {name:<18}{_gib(size):>12}"
    if memory["host_bytes"]:
        yield f"  {'paged to the host':<18}{_gib(memory['host_bytes']):>12}"
    yield (
        f"  logits            {_gib(0):>12}  (chunk by chunk, {_gib(memory['chunked_loss_bytes'])} with the head's "
        f"gradients; a plain loss {_gib(memory['plain_loss_bytes'])})"
    )
    yield (
        f"  without checkpointing {_gib(memory['needed_without_checkpointing_bytes'])}, with it "
        f"{_gib(memory['needed_with_checkpointing_bytes'])}; the reserve is an assumption"
    )


def _new_rows(found: Facts) -> Iterator[str]:
    rows = found["new_rows"]
    if rows is None:
        return
    new, saved, half = rows["new-rows"], rows["modules_to_save"], rows["modules_to_save_bf16"]
    yield f"new rows    {rows['new_rows']:,} beside {rows['base_rows']:,}"
    yield f"  {'':<30}{'trained values':>16}{'values':>12}{'gradients':>12}{'optimiser':>12}"
    for name, row in (("only them (new-rows)", new), ("peft modules_to_save, fp32", saved), ("the same in bf16", half)):
        sizes = "".join(f"{_gib(row[f'{part}_bytes']):>12}" for part in ("weights", "gradients", "optimizer"))
        yield f"  {name:<30}{row['trainable_parameters']:>16,}{sizes}"


def _time(found: Facts) -> Iterator[str]:
    time, device = found["time"], found["device"]
    if time["from"] is None:
        yield "time        not known: give --gpu (a GPU of the table), or --calibrate"
        return
    if time["from"] == "calibration":
        spread = f"{time['fastest_s']:.3f} to {time['slowest_s']:.3f}"
        yield (
            f"time        {_hours(time['hours'])}, from {time['steps']} real steps here: "
            f"{time['seconds_per_step']:.3f} s a step ({spread}), {time['tokens_per_s']:,.0f} tokens/s"
        )
        own = "" if time["peak_memory_gb"] is None else f"{time['peak_memory_gb']:.2f} GB by the stage's count"
        process = "" if time["host_bytes"] is None else f"{_gib(time['host_bytes'])} in its process"
        found_bytes = ", ".join(filter(None, (own, process)))
        yield f"            most memory measured: {found_bytes}; validation is not in the hours"
        return
    yield (
        f"time        {_hours(time['hours'])} on {device['gpus']} x {device['gpu']} at an assumed "
        f"{time['utilisation']:.0%} of its peak: {time['tokens_per_s']:,.0f} tokens/s (--calibrate measures it)"
    )


def _hours(hours: float | None) -> str:
    if hours is None:
        return "not known without data"
    return f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:,.1f} min"


def _options(found: Facts) -> Iterator[str]:
    """A line for each setting of the asked precision: GiB for some numbers of rows in memory at once."""
    precision = found["setting"]["precision"]
    lines: dict[tuple[str, bool, bool], list[Facts]] = {}
    for row in found["options"]:
        if row["precision"] == precision:
            lines.setdefault((row["trainable"], row["gradient_checkpointing"], row["sharded"]), []).append(row)
    counts = [n for n in SHOWN_ROWS if any(row["rows_per_batch"] == n for row in found["options"])]
    limited = found["memory"]["limit_bytes"] is not None
    yield f"GiB needed in {precision} by rows in memory at once{' (- does not fit)' if limited else ''}"
    head = "".join(f"{n:>9}" for n in counts)
    yield f"  {'':<40}{head}{'fits up to':>12}" if limited else f"  {'':<40}{head}"
    for (trainable, checkpointing, sharded), rows in lines.items():
        name = trainable + (", checkpointing" if checkpointing else "") + (", sharded" if sharded else "")
        by_count = {row["rows_per_batch"]: row for row in rows}
        cells = "".join(f"{_cell(by_count.get(n)):>9}" for n in counts)
        most = max((row["rows_per_batch"] for row in rows if row["fits"]), default=None)
        yield f"  {name:<40}{cells}" + (
            f"{'nothing' if most is None else f'{most} row' + 's' * (most > 1):>12}" if limited else ""
        )


def _cell(row: Facts | None) -> str:
    if row is None:
        return ""
    return f"{row['needed_bytes'] / GIB:,.1f}{'-' if row['fits'] is False else ' '}"


def _recommended(found: Facts) -> Iterator[str]:
    chosen, asked = found["recommended"], found["setting"]
    if chosen is None:
        least = min((row["needed_bytes"] for row in found["options"]), default=0.0)
        yield (
            f"recommended nothing that keeps to --trainable {asked['trainable']} fits; the least of all settings needs "
            f"{_gib(least)}. More --gpus (sharded), a larger --memory, or a smaller --seq-len."
        )
        return
    changed = [
        f"{name.replace('_', ' ')} {chosen[name]}"
        for name in ("trainable", "rows_per_batch", "gradient_checkpointing", "sharded")
        if chosen[name] != asked[name]
    ]
    hours = "" if chosen["hours"] is None or found["time"]["from"] != "table" else f", {_hours(chosen['hours'])}"
    why = f"changed so that it fits: {', '.join(changed)}" if changed else "as asked"
    yield f"recommended {_gib(chosen['needed_bytes'])}{hours} ({why})"
    yield f"  {chosen['command']}"
