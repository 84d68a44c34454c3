"""Definitions as recorders and people write them, brought into the form that rosbags' parsers take.

Of IDL its parser knows no lines for the preprocessor, which every definition that uses another one has. What is laid out
otherwise than it believes is refused: it takes a sequence of sequences for a plain one, and an optional field for one
that is always there.
"""

import re

from rosbags.typesys import TypesysError

# Texts, compiled where they are first used: most recordings have no IDL.
PART = r"(?m)^={40,}\r?\nIDL: [^\n]*\n"
DIRECTIVE = r"(?m)^[ \t]*#[^\n]*"
BESIDE = r'(?s)//[^\n]*|/\*.*?(?:\*/|\Z)|"(?:\\.|[^"\\])*(?:"|\Z)'
BOUND = r"(\bw?string\s*<\s*\w+\s*)>>"  # taken for a number that is shifted
MISTAKEN = {
    "a sequence of sequences": r"\bsequence\s*<\s*sequence\b",
    "an array of sequences": r"\bsequence\s*<[^;{}<>]*(?:<[^;{}<>]*>[^;{}<>]*)?>\s*\w+\s*\[",
    "an optional field": r"@optional\b",
}
ANNOTATION = r"@[\w:]+\s*\("
NESTED = r"\([^()]*\("
MOST_BRACKETS = 8
ENDLESS = f"it has expressions in brackets within brackets, or more than {MOST_BRACKETS} in brackets"
BLANK_LINES = r"\n\s*\n"
MSG_SEPARATOR = r"(?m)^={3,}[ \t]*\n\s*MSG:[ \t]*"
EMPTY_CONSTANT = r"(?m)^[ \t]*string[ \t]+\w+[ \t]*=[ \t]*$"


def msg_text(text: str) -> str:
    """A definition in .msg, with those it needs: with any ends of lines and separators."""
    plain = text.removeprefix("\ufeff").replace("\r\n", "\n")
    return re.sub(MSG_SEPARATOR, f"{'=' * 80}\nMSG: ", plain)


def msg_to_parse(text: str) -> str:
    """The same as a parser takes it: also with empty constants, and without blank lines, on which it spends seconds."""
    return re.sub(EMPTY_CONSTANT, "", re.sub(BLANK_LINES, "\n", msg_text(text)))


def idl_parts(text: str) -> list[str]:
    """The definitions that a text in IDL holds, one for each type or file.

    Raises:
        TypesysError: rosbags would read messages of it otherwise than they were written, or take for ever to parse it.
    """
    code = re.sub(BESIDE, " ", re.sub(DIRECTIVE, "", text))
    for what, pattern in MISTAKEN.items():
        if re.search(pattern, code):
            raise TypesysError(f"it has {what}")
    # For brackets in brackets its parser takes seconds, for three of them an hour.
    code = re.sub(ANNOTATION, "@", code)
    if code.count("(") > MOST_BRACKETS or re.search(NESTED, code):
        raise TypesysError(ENDLESS)
    before, *parts = re.split(PART, text)
    return [re.sub(BOUND, r"\1> >", re.sub(DIRECTIVE, "", part)) for part in parts or [before]]
