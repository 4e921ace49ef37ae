"""The table that gpu.py prints of what it measured: each goal of the GPU with what was reached, then everybody's time and shares of the ceilings."""

from typing import Any

from table import Row, at_least


def medians(data: dict[str, Any], group: str) -> dict[str, dict[str, float]]:
    """{work: {competitor: seconds}} of what was timed."""
    found: dict[str, dict[str, float]] = {}
    for row in data.get(group, {}).get("results", ()):
        if row["seconds"]:
            found.setdefault(row["work"], {})[row["competitor"]] = row["median"]
    return found


def ratio(times: dict[str, float], mine: str, modes: tuple[str, ...], precision: str = "float32") -> tuple[float | None, str]:
    """The time of the fastest of PyTorch's ways in that precision and one of these modes over ours, and both in words."""
    rivals = {name: time for name, time in times.items() if name.startswith(f"PyTorch {precision}") and (name.split()[3:] or ["eager"])[0] in modes}
    if mine not in times or not rivals:
        return None, ""
    fastest = min(rivals, key=rivals.__getitem__)
    return rivals[fastest] / times[mine], f"{1e3 * times[mine]:.3g} ms; {fastest} {1e3 * rivals[fastest]:.3g} ms"


def goals(data: dict[str, Any]) -> list[Row]:
    """Each goal of the GPU, with what was reached."""
    best, strict = "PyTorch, TF32 off, its fastest way", ("eager", "compiled", "heuristic")
    forward64, step64, forward1 = (
        medians(data, group).get(name, {}) for group, name in (("forward64", "forward 64"), ("step64", "step 64"), ("forward1", "forward 1"))
    )
    rows = [
        at_least("VGG-16 forward, batch 64, strict float32", best, 1.5, *ratio(forward64, "minivgg", strict)),
        at_least("VGG-16 training step, batch 64, strict float32", best, 1.3, *ratio(step64, "minivgg", strict)),
    ]
    for direction, what in {"output": "output", "input": "input gradient", "weight": "weight gradient"}.items():
        each = {name: ratio(times, "minivgg", strict)[0] for name, times in medians(data, "layers").items() if name.endswith(f" {direction}")}
        each = {name.split()[0]: value for name, value in each.items() if value is not None}
        note = ", ".join(f"{name} {value:.2f}" for name, value in each.items())
        rows.append(
            at_least(f"each 3x3 layer, batch 64, strict float32: {what}", "PyTorch, TF32 off, better layout", 1.2, min(each.values(), default=None), note)
        )
    for precision in ("TF32", "BF16"):
        reached = ratio(forward64, f"minivgg {precision}", strict, precision)
        rows.append(at_least(f"VGG-16 forward, batch 64, {precision}", f"PyTorch {precision}, its fastest way", 0.8, *reached))
    rows.append(
        at_least("VGG-16 forward, batch 1, under a graph, strict float32", "PyTorch eager, TF32 off", 1.5, *ratio(forward1, "minivgg graph", ("eager",)))
    )
    rows.append(
        at_least(
            "VGG-16 forward, batch 1, under a graph, strict float32", "PyTorch under a graph, TF32 off", 1.0, *ratio(forward1, "minivgg graph", ("graph",))
        )
    )
    for row in data.get("memory", {}).get("results", ()):
        share = row["bytes"] / row["median"] / data["memory"]["ceilings"]["copy"] if row["seconds"] else None
        note = f"{row['bytes'] / row['median'] / 1e9:.0f} GB/s" if row["seconds"] else row["refusal"]
        rows.append(Row(row["work"], "the measured copy bandwidth", "at least 90 %", share, (share or 0) >= 0.9, note, ".0%"))
    return rows


def everything(data: dict[str, Any]) -> list[str]:
    """A line for everybody who was measured, with the flags, and the shares of the ceilings of the same run."""
    lines = ["| work | competitor | flags | ms | share of FMA | share of copying |\n|---|---|---|---|---|---|"]
    for part in data.values():
        for row in part["results"]:
            ceilings, seconds = part["ceilings"], row.get("median")
            time = f"{1e3 * seconds:.4g}" if seconds else row["refusal"]
            shares = [f"{row[what] / seconds / ceilings[by]:.0%}" if seconds and row[what] else "" for what, by in (("flops", "flops"), ("bytes", "copy"))]
            lines.append(f"| {row['work']} | {row['competitor']} | {row['flags']} | {time} | {shares[0]} | {shares[1]} |")
    return lines


def table(data: dict[str, Any]) -> str:
    where = [
        f"{name}: {part['device']['device']}, {part['device']['driver'] or part['device']['cuda_driver']}, commit {part['machine']['commit']}; "
        f"copies {part['ceilings']['copy'] / 1e9:.0f} GB/s, {part['ceilings']['flops'] / 1e12:.1f} TFLOP/s of multiply-adds"
        for name, part in data.items()
    ]
    head = "| work | against | goal | reached | | |\n|---|---|---|---|---|---|"
    return "\n".join([head, *map(str, goals(data)), "", *everything(data), "", *where])
