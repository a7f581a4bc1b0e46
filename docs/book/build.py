#!/usr/bin/env python3
"""Makes a book of the guide, by mdBook: `python3 docs/book/build.py`, then open `target/book/html/index.html`.

The chapters are `engine/src/guide`, which rustdoc shows and tests; here their links and code are put into the form
that mdBook knows. With `--check` nothing is built: it is only seen whether every link leads somewhere.
"""

import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDE = ROOT / "engine/src/guide"
BOOK = ROOT / "target/book"
STANDARD_LIBRARY = "https://doc.rust-lang.org/std/"
KINDS = ["struct", "enum", "trait", "fn", "constant", "type"]
PARTS = ["method", "tymethod", "variant", "structfield", "associatedconstant"]

CONFIGURATION = """\
[book]
title = "ampe: a guide"
language = "en"
src = "src"

[build]
build-dir = "html"
create-missing = false

[output.html]
no-section-label = true
"""


def documentation():
    """The folder with what rustdoc says of the crate."""
    command = ["cargo", "doc", "-p", "ampe", "--no-deps", "--all-features", "--locked"]
    subprocess.run(command, cwd=ROOT, check=True)
    metadata = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"]
    answer = subprocess.run(metadata, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return pathlib.Path(re.search(r'"target_directory":"([^"]*)"', answer.stdout).group(1)) / "doc"


def place_in_documentation(doc, path):
    """Where rustdoc describes `ampe::path`, below its folder."""
    folder, names = doc / "ampe", path.split("::")
    while len(names) > 1 and (folder / names[0]).is_dir():
        folder /= names.pop(0)
    if len(names) == 1 and (folder / names[0] / "index.html").is_file():
        return folder / names[0] / "index.html", ""
    pages = [page for kind in KINDS for page in folder.rglob(f"{kind}.{names[0]}.html")]
    # What a module has is also named in the crate itself: the page nearest to it is meant.
    for page in sorted(pages, key=lambda page: len(page.parts)):
        if len(names) == 1:
            return page, ""
        text = page.read_text()
        for part in PARTS:
            if f'id="{part}.{names[1]}"' in text:
                return page, f"#{part}.{names[1]}"
    return None


def resolved(doc, link):
    """A link of the guide's, as the book needs it; `None` if it leads nowhere."""
    if link.startswith(("http://", "https://", "#")):
        return link
    chapter = link.removeprefix("crate::guide::").removeprefix("super::")
    if (GUIDE / f"{chapter}.md").is_file():
        return f"{chapter}.md"
    if link.startswith("std::"):
        *modules, name = link.split("::")[1:]
        return STANDARD_LIBRARY + "/".join([*modules, f"?search={name}"])
    place = place_in_documentation(doc, link.removeprefix("crate::"))
    return place and "api/" + place[0].relative_to(doc).as_posix() + place[1]


def chapter(doc, file, lost):
    """A chapter as mdBook takes it: links resolved, Rust called Rust, its first sentence as its title."""
    lines, is_code = [], False
    for line in file.read_text().splitlines():
        if line.startswith("```"):
            if not is_code:
                attributes = [part for part in line[3:].split(",") if part and part != "rust"]
                line = line if line[3:] in ("text", "toml", "console") else "```" + ",".join(["rust", *attributes])
            is_code = not is_code
        elif not is_code:

            def replaced(found):
                link = resolved(doc, found.group(2))
                if link is None:
                    lost.append(f"{file.name}: {found.group(0)}")
                return f"[{found.group(1)}]({link})"

            line = re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", replaced, line)
        lines.append(line)
    title = lines[0].removesuffix(".")
    return "\n".join([f"# {title}", *lines[1:], ""]), title


def main():
    doc, lost = documentation(), []
    order = re.findall(r'include_str!\("(\w+)\.md"\)', (GUIDE / "mod.rs").read_text())
    shutil.rmtree(BOOK, ignore_errors=True)
    (BOOK / "src").mkdir(parents=True)
    summary = []
    for name in order:
        text, title = chapter(doc, GUIDE / f"{name}.md", lost)
        target = "index" if name == "mod" else name
        title = "How to write programs with ampe" if name == "mod" else title
        (BOOK / f"src/{target}.md").write_text(text if name != "mod" else f"# {title}\n\n" + text.removeprefix("# "))
        summary.append(f"[{title}]({target}.md)" if name == "mod" else f"- [{title}]({target}.md)")
    (BOOK / "src/SUMMARY.md").write_text("# Summary\n\n" + "\n".join(summary) + "\n")
    (BOOK / "book.toml").write_text(CONFIGURATION)
    if lost:
        sys.exit("these links lead nowhere:\n  " + "\n  ".join(lost))
    print(f"the links of {len(order)} chapters lead somewhere")
    if "--check" in sys.argv:
        return
    if not shutil.which("mdbook"):
        sys.exit("there is no mdbook: `cargo install mdbook --locked`")
    subprocess.run(["mdbook", "build", BOOK], check=True)
    for folder in [entry for entry in doc.iterdir() if entry.name in ("ampe", "static.files")]:
        shutil.copytree(folder, BOOK / "html/api" / folder.name)
    print(f"the book is {BOOK / 'html/index.html'}")


main()
