"""Write the sample documents of the invented company into ``corpora/company``.

The same bytes come out every time: ``python -m corpora.make.documents``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from corpora.make.bureau import notice_files, service_files
from corpora.make.house import Files, faq_files, handbook_files, manual_files

COMPANY = Path(__file__).resolve().parent.parent / "company"
FOLDERS = ("handbook", "manuals", "faq", "notices", "service")


def all_files() -> Files:
    """Every file of the folder, by its path below it."""
    return handbook_files() | manual_files() | faq_files() | notice_files() | service_files()


def write(target: Path = COMPANY) -> int:
    """Replace the folders below ``target`` and return the number of files written."""
    files = all_files()
    for folder in FOLDERS:
        shutil.rmtree(target / folder, ignore_errors=True)
        (target / folder).mkdir(parents=True)
    for name, data in sorted(files.items()):
        (target / name).write_bytes(data)
    return len(files)


def main() -> None:
    """Write the folder and say so."""
    print(f"{write()} files written to {COMPANY}")


if __name__ == "__main__":
    main()
