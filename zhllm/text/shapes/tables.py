"""Tables of questions and answers (CSV, TSV, Excel): a row is a unit, its columns found by their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from zhllm.text.document import Rejected, sample_of
from zhllm.text.read.sources import SourceFile, kind_of
from zhllm.text.read.tables import Row, read_csv
from zhllm.text.shapes.names import found_roles
from zhllm.text.shapes.record import FieldError, Options, Unit

TABLE_KINDS = (".csv", ".tsv")
BOOK_KINDS = (".xlsx", ".xlsm", ".xls")
# Above its header a sheet of a company has a title, and perhaps a note.
MAX_ROWS_ABOVE = 10
# A column `label` is as a rule a category; it is a good or bad answer's only when it is named so.
_LOOKED_FOR = ("chosen", "rejected", "answer", "question", "input", "system", "id")


def read_table(file: SourceFile, is_book: bool, options: Options) -> Iterator[Unit | Rejected]:
    """Every row below the header of a table, or of each sheet of a workbook."""
    if not is_book:
        rows = read_csv(file.open, file.name, is_tsv=kind_of(file.name) == ".tsv")
        yield from _table_units(rows, file.name, "", options)
        return
    from zhllm.text.read.xlsx import read_sheets

    found: list[Rejected] = []
    is_any = False
    for sheet in read_sheets(file.at_random()):
        for unit in _table_units(sheet.rows, file.name, f"{sheet.name}!", options):
            if isinstance(unit, Rejected) and unit.kind == "file":
                found.append(unit)
            else:
                is_any = True
                yield unit
    # A sheet without questions (a cover, notes) is nothing lost where another one has them.
    yield from () if is_any else found


def _table_units(rows: Iterable[Row | Rejected], name: str, at: str, options: Options) -> Iterator[Unit | Rejected]:
    columns: list[str] | None = None
    roles: dict[str, str] = {}
    above: list[Row] = []
    for row in rows:
        if isinstance(row, Rejected):
            yield row
        elif not any(cell.strip() for cell in row.cells):
            continue
        elif columns is not None:
            yield _row_unit(row, columns, roles, name, at)
        else:
            above.append(row)
            cells = [cell.strip() for cell in row.cells]
            roles = roles_of(cells, options)
            if roles:
                columns = cells
            elif len(above) == MAX_ROWS_ABOVE:
                break
    if columns is None and above:
        yield _no_header(above[0], name, at, options)


def roles_of(columns: list[str], options: Options) -> dict[str, str]:
    """The column of each role in a header; none where it is no header of questions and answers."""
    named = dict(options.columns)
    if not set(named.values()) <= set(columns):
        return {}
    free = [column for column in columns if column not in named.values()]
    roles = found_roles(free, [role for role in _LOOKED_FOR if role not in named]) | named
    is_pair = "chosen" in roles and "rejected" in roles
    return roles if "question" in roles and ("answer" in roles or is_pair) else {}


def _no_header(first: Row, name: str, at: str, options: Options) -> Rejected:
    shown = ", ".join(cell.strip() for cell in first.cells if cell.strip())[:200]
    wanted = ", ".join(column for _, column in options.columns)
    lacks = f"has no columns {wanted}" if wanted else "has no columns of questions and of answers that are known"
    reason = f"{lacks} (its first row: {shown}). Name them: --column question=NAME --column answer=NAME"
    return Rejected(name, "file", reason, first.offset, first.line, field=at.rstrip("!"))


def _row_unit(row: Row, columns: list[str], roles: dict[str, str], name: str, at: str) -> Unit | Rejected:
    if any(cell.strip() for cell in row.cells[len(columns) :]):
        reason = f"has {len(row.cells)} cells, the header {len(columns)}"
        sample = sample_of(" | ".join(row.cells))
        return Rejected(name, "record", reason, row.offset, row.line, sample, at.rstrip("!"))
    cells = dict(zip(columns, row.cells, strict=False))
    return Unit(row.line, named_values(cells, roles), "table", at=at)


def named_values(cells: dict[str, Any], roles: dict[str, str]) -> dict[str, Any]:
    """What stands under each role, and the names of their columns, for errors."""
    return {role: cells.get(column, "") for role, column in roles.items()} | {"columns": roles}


def by_own_names(error: FieldError, value: dict[str, Any]) -> FieldError:
    """The error with the column's own name in place of the role's."""
    return FieldError(value["columns"].get(error.field, error.field), error.reason)
