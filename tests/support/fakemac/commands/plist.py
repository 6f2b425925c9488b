"""Property lists as CoreFoundation reads them (the document type is skipped, never checked), and plutil(1)."""

import pyexpat
import sys

from .base import fail, not_modelled

TAGS = {"plist", "dict", "key", "array", "string", "integer", "real", "true", "false", "date", "data"}
EMPTY = object()


class PlistError(Exception):
    """What is wrong, in plutil's words."""


class _Reader:
    """Builds the value while expat reports elements, and words errors as CoreFoundation does."""

    def __init__(self):
        self.stack, self.value, self.text = [], EMPTY, ""
        self.parser = pyexpat.ParserCreate()
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.characters

    def line(self):
        return self.parser.CurrentLineNumber

    def start(self, tag, _attributes):
        if tag not in TAGS:
            raise PlistError(f"Encountered unknown tag {tag} on line {self.line()}")
        if self.stack and self.stack[-1][0] == "dict":
            if tag != "key" and self.stack[-1][2] is None:
                raise PlistError(f"Found non-key inside <dict> at line {self.line()}")
            if tag == "key" and self.stack[-1][2] is not None:
                raise PlistError(f"Value missing for key inside <dict> at line {self.line()}")
        self.stack.append([tag, {} if tag == "dict" else [], None])
        self.text = ""

    def characters(self, text):
        self.text += text

    def end(self, tag):
        _, children, key = self.stack.pop()
        if tag == "plist":
            return
        if tag == "dict" and key is not None:
            raise PlistError(f"Value missing for key inside <dict> at line {self.line()}")
        if tag == "key":
            self.stack[-1][2] = self.text
            return
        try:
            value = {
                "dict": lambda: children,
                "array": lambda: children,
                "true": lambda: True,
                "false": lambda: False,
            }.get(tag, lambda: {"integer": int, "real": float}.get(tag, str)(self.text))()
        except ValueError:
            raise PlistError(f"Encountered misformatted {tag} on line {self.line()}") from None
        parent = self.stack[-1] if self.stack else ["plist", [], None]
        if parent[0] == "dict":
            parent[1][parent[2]], parent[2] = value, None
        elif parent[0] == "array":
            parent[1].append(value)
        else:
            self.value = value


def parse(data):
    """The value in `data` (bytes). Raises PlistError."""
    if data.startswith(b"bplist00"):
        import plistlib  # only here: it takes longer to import than all the rest to run

        return plistlib.loads(data)
    if not data.startswith((b"<?xml", b"<!DOCTYPE", b"<plist")):
        first = data[:1].decode(errors="replace")
        raise PlistError(
            f"Property List error: Unexpected character {first} at line 1 / JSON error: JSON text did not start with"
            " array or object and option to allow fragments not set. around line 1, column 0."
        )
    start = data.find(b"<!DOCTYPE")
    if start >= 0:
        end = data.find(b">", start)
        blank = b"\n" * data[start:end].count(b"\n")
        data = data[:start] + blank + data[end + 1 :]
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
    except pyexpat.ExpatError as error:
        raise PlistError(_reason(error, data, reader)) from None
    if reader.value is EMPTY:
        raise PlistError("Encountered unexpected EOF")
    return reader.value


def _reason(error, data, reader):
    line, at = error.lineno, reader.parser.ErrorByteIndex
    message = pyexpat.ErrorString(error.code)
    if message == "mismatched tag":
        return f"Close tag on line {line} does not match open tag {reader.stack[-1][0]}"
    if message in ("no element found", "unclosed token"):
        return "Encountered unexpected EOF"
    if message == "undefined entity" or b"&" in data[max(0, at - 1) : at + 1]:
        return f"Encountered unknown ampersand-escape sequence at line {line}"
    return f"Encountered unexpected character {data[at : at + 1].decode(errors='replace')} on line {line}"


def _read(path):
    try:
        if path == "-":
            return sys.stdin.buffer.read()
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        raise PlistError(
            "file does not exist or is not readable or is not a regular file (Error Domain=NSCocoaErrorDomain Code=260"
            f' "The file “{path.rsplit("/", 1)[-1]}” couldn’t be opened because there is no such file.")'
        ) from None


def _lint(paths, silent):
    bad = 0
    for path in paths:
        try:
            parse(_read(path))
        except PlistError as error:
            print(f"{path}: {error}")
            bad = 1
        else:
            if not silent:
                print(f"{path}: OK")
    return bad


def _at(value, keypath):
    for step in keypath.replace("\\.", "\0").split("."):
        step = step.replace("\0", ".")
        value = value[int(step)] if isinstance(value, list) else value[step]
    return value


def _raw(value):
    if isinstance(value, list):
        return str(len(value))
    if isinstance(value, dict):
        return "\n".join(sorted(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _pretty(value, indent=0):
    pad = "  " * indent
    if isinstance(value, dict):
        body = [f'{pad}  "{k}" => {_pretty(value[k], indent + 1)}' for k in sorted(value)]
        return "\n".join(["{", *body, pad + "}"])
    if isinstance(value, list):
        body = [f"{pad}  {i} => {_pretty(v, indent + 1)}" for i, v in enumerate(value)]
        return "\n".join(["[", *body, pad + "]"])
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def _formatted(value, form):
    if form == "raw":
        return _raw(value) + "\n"
    if form == "json":
        import json

        return json.dumps(value)
    if form == "xml1":
        import plistlib

        return plistlib.dumps(value).decode()
    return not_modelled(f"plutil format {form}")


def plutil(args):
    """-lint, -p, -extract and -convert. Everything plutil has to say about a file goes to standard output."""
    args = list(args)
    verb = args.pop(0) if args and args[0].startswith("-") and args[0] not in ("-s", "--") else "-lint"
    keypath = form = None
    if verb == "-extract":
        keypath, form = args.pop(0), args.pop(0)
    elif verb == "-convert":
        form = args.pop(0)
    elif verb not in ("-lint", "-p"):
        not_modelled(f"plutil {verb}")
    silent, output = False, None
    while args and args[0].startswith("-") and args[0] != "-":
        flag = args.pop(0)
        if flag == "--":
            break
        if flag == "-o":
            output = args.pop(0)
        elif flag == "-s":
            silent = True
        elif flag != "-n":
            not_modelled(f"plutil {flag}")
    if not args:
        fail("No files specified.")
    if verb == "-lint":
        return _lint(args, silent)
    for path in args:
        try:
            value = parse(_read(path))
            value = _at(value, keypath) if verb == "-extract" else value
        except PlistError as error:
            print(f"{path}: {error}")
            return 1
        except (KeyError, IndexError, ValueError, TypeError):
            print(f"{path}: Could not extract value, error: No value at that key path or invalid key path: {keypath}")
            return 1
        text = _pretty(value) + "\n" if verb == "-p" else _formatted(value, form)
        if output == "-" or verb == "-p" or form == "raw":
            sys.stdout.write(text)
        else:
            with open(output or path, "w") as file:
                file.write(text)
    return 0
