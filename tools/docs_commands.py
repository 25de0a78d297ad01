"""A hook of mkdocs: writes the reference of the command line from the program, so that it cannot be out of date."""

import inspect
from collections.abc import Iterator
from typing import Any, Final

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from typer.core import TyperGroup

from modelmeter.cli.app import app

PAGE: Final = "reference/command-line.md"
MARK: Final = "<!-- commands -->"


def on_page_markdown(markdown: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page of the command line with all commands in place of its mark; other pages as they are."""
    if page.file.src_uri != PAGE:
        return markdown
    before, mark, after = markdown.partition(MARK)
    if not mark:
        raise ValueError(f"{PAGE} has no line {MARK}")
    return before + reference() + after


def reference() -> str:
    """All commands, as Markdown."""
    program = typer.main.get_command(app)
    context = program.context_class(program, info_name="modelmeter", help_option_names=["-h", "--help"])
    lines = [line for name, command in below(program) for line in describe(name, command, context, 2)]
    return "\n".join(lines)


def below(group: Any) -> list[tuple[str, Any]]:
    """The commands of a group, by name."""
    return sorted(group.commands.items())


def describe(name: str, command: Any, above: Any, level: int) -> Iterator[str]:
    """A command and those below it: what it does, how it is called, its arguments and options, examples."""
    context = command.context_class(command, info_name=name, parent=above)
    said, _, examples = inspect.cleandoc(command.help).partition("Examples:")
    yield from (f"{'#' * level} {context.command_path}", "", said.strip(), "")
    yield from ("```text", command.get_usage(context).removeprefix("Usage: "), "```", "")
    records = [param.get_help_record(context) for param in command.get_params(context)]
    yield from table([record for record in records if record is not None])
    if examples:
        calls = [line.strip() for line in examples.splitlines() if line.strip()]
        yield from ("```sh", *calls, "```", "")
    if isinstance(command, TyperGroup):
        for inner, child in below(command):
            yield from describe(inner, child, context, level + 1)


def table(records: list[tuple[str, str]]) -> Iterator[str]:
    """Options and what they do."""
    yield from ("| option | what it does |", "| :--- | :--- |")
    yield from (f"| {code(option)} | {escape(text)} |" for option, text in records)
    yield ""


def code(text: str) -> str:
    """Text as code in a cell of a table."""
    return f"<code>{escape(text)}</code>"


def escape(text: str) -> str:
    """Text that stands in a cell as it is."""
    for letter, entity in (("&", "&amp;"), ("<", "&lt;"), ("|", "&#124;"), ("*", "&#42;"), ("[", "&#91;")):
        text = text.replace(letter, entity)
    return text
