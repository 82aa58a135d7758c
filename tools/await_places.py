"""Finds each co_await in a place where a coroutine must not be interrupted.

Such places are a new-expression, a braced initialiser, a lambda capture, the initialiser of a static local, and a throw
operand. A coroutine that is destroyed there leaks or destroys twice (tests/expressions). The body of a lambda is a place of
its own, whatever the lambda stands in.

Works on tokens. It sees no types, so it also refuses a place where the types would be harmless. It does not look into macros.
"""

import re

TOKEN = re.compile(
    r"(?P<skipped>//(?:\\\n|[^\n])*|/\*.*?\*/|\s+)"
    r"|(?P<directive>^[ \t]*#(?:\\\n|/\*.*?\*/|[^\n])*)"
    r'|(?P<raw>(?:u8|[uUL])?R"(?P<mark>[^()\\\s]*)\(.*?\)(?P=mark)")'
    r'|(?P<text>(?:u8|[uUL])?"(?:\\.|[^"\\\n])*"|(?:u8|[uUL])?\'(?:\\.|[^\'\\\n])*\')'
    r"|(?P<number>\.?\d(?:[eEpP][+-]|'?[\w.])*)"
    r"|(?P<word>\w+)"
    r"|(?P<sign>->|::|&&|\[\[|.)",
    re.DOTALL | re.MULTILINE)

CLOSING = {"(": ")", "[": "]", "[[": "]", "{": "}"}
# A bracket behind one of these begins an operand, as behind a sign.
STATEMENT_WORDS = {"case", "co_await", "co_return", "co_yield", "do", "else", "return", "throw"}
# Between the parameters of a function and its body.
BODY_WORDS = {"const", "constexpr", "do", "else", "final", "mutable", "noexcept", "override", "try", "volatile"}
HEADS = {"class", "enum", "namespace", "requires", "struct", "union"}
TYPE_SIGNS = {"::", "<", ">", "*", "&", "&&"}


def tokens_of(text):
    """Yields kind, token and offset. A string or number is one token."""
    for match in TOKEN.finditer(text):
        if match.lastgroup == "skipped":
            continue
        kind = "text" if match.lastgroup == "raw" else match.lastgroup
        yield kind, match[0], match.start()


class Level:
    """An open bracket, and what is known of the statement or argument that it is in the middle of."""

    def __init__(self, bracket, place):
        self.bracket = bracket
        self.place = place  # what a co_await within is inside of; "block" for statements, None for a part of an expression
        self.is_lambda = False  # of a block: a lambda's body, in the middle of an expression
        self.begin_statement()

    def begin_statement(self):
        self.tokens = []  # of this level alone: a closed bracket is one token, "()", "[]", "[&]" for a capture, or "{}"
        self.is_static = False
        self.begin_expression()

    def begin_expression(self):
        self.throws = False
        self.conditionals = 0  # after a throw
        self.leave_new()

    def leave_new(self):
        self.is_new = False
        self.angles = 0  # after a new

    def copy(self):
        other = Level(self.bracket, self.place)
        other.__dict__.update(self.__dict__)
        other.tokens = list(self.tokens)
        return other

    def previous(self):
        return self.tokens[-1] if self.tokens else ""

    def add(self, kind, token):
        """Takes a token that is not a bracket."""
        if token == ";":
            self.begin_statement()
            return
        if self.is_new:
            self.angles += {"<": 1, ">": -1}.get(token, 0)
            if self.angles == 0 and kind != "word" and token not in TYPE_SIGNS:
                self.leave_new()
        if token == "throw":
            self.throws, self.conditionals = True, 0
        elif token == "?":
            self.conditionals += 1
        elif token == ",":
            # In a statement it stands between template arguments more often than between expressions.
            if self.angles == 0 and self.place != "block":
                self.begin_expression()
        elif token == ":" and self.conditionals == 0:
            self.begin_expression()
        elif token == ":":
            self.conditionals -= 1
        elif token in ("static", "thread_local"):
            self.is_static = True
        elif token == "new" and self.previous() != "operator":
            self.is_new = True
        self.tokens.append('""' if kind == "text" else token)

    def place_now(self):
        """Returns what a token of this level is inside of, besides the bracket itself."""
        if self.throws:
            return "a throw operand"
        return "a static local's initialiser" if self.is_static else None


def ends_operand(token):
    """True for a token that a subscript or a call can follow."""
    return token in ("()", "[]", '""') or (re.fullmatch(r"\w+", token) and token not in STATEMENT_WORDS)


def begins_trailing_type(tokens):
    """True if the tokens end in "-> type" behind the parameters of a function or lambda."""
    for at in range(len(tokens) - 1, 0, -1):
        if tokens[at] == "->":
            return tokens[at - 1] in ("()", "[&]") or tokens[at - 1] in BODY_WORDS
        if not (re.fullmatch(r"\w+", tokens[at]) or tokens[at] in TYPE_SIGNS or tokens[at] in (",", "()", "[]")):
            return False
    return False


def has_head(tokens):
    """True for the head of a class, an enumeration, a namespace or a constrained function."""
    depth = 0
    for token in tokens:
        depth += {"<": 1, ">": -1}.get(token, 0)
        if depth <= 0 and token in HEADS:
            return True
    return False


def is_block(level):
    """True if a brace that opens now begins statements or members, false if it begins values."""
    tokens, before = level.tokens, level.previous()
    if not tokens:
        return level.place == "block"
    if before == "()":
        return tokens[-2:-1] != ["decltype"]
    if before == "[&]" or before in BODY_WORDS or begins_trailing_type(tokens):
        return True
    if level.place != "block":
        return False
    if before in ("{}", ":", "&", "&&") or tokens[:2] == ["extern", '""']:
        return True
    return has_head(tokens)


def open_bracket(levels, token):
    level = levels[-1]
    place = None
    if token == "{":
        place = "block" if is_block(level) else "a braced initialiser"
    elif token == "[" and not ends_operand(level.previous()):
        place = "a lambda capture"
    if level.is_new and place != "block":
        place = "a new-expression"
    opened = Level(token, place)
    opened.is_lambda = place == "block" and any(each == "[&]" for each in level.tokens)
    levels.append(opened)


def close_bracket(levels):
    closed = levels.pop()
    level = levels[-1]
    if closed.place == "block" and level.place == "block" and not closed.is_lambda:
        # A constructor's initialisers end in its body, so a closed block ends the statement.
        level.begin_statement()
        return
    level.tokens.append({"(": "()", "{": "{}"}.get(closed.bracket) or ("[&]" if closed.place == "a lambda capture" else "[]"))


def take_directive(text, levels, saved):
    """Lets each branch of an #if begin with the brackets that were open before it."""
    word = re.match(r"\s*#\s*(\w*)", text)[1]
    if word in ("if", "ifdef", "ifndef"):
        saved.append([level.copy() for level in levels])
    elif word in ("else", "elif") and saved:
        levels[:] = [level.copy() for level in saved[-1]]
    elif word == "endif" and saved:
        saved.pop()


def place_of_await(levels):
    """Returns the innermost forbidden place that the current token is inside of, or None."""
    for level in reversed(levels):
        place = level.place_now()
        if place is None and level.place not in (None, "block"):
            place = level.place
        if place is not None or level.place == "block":
            return place
    return None


def forbidden_awaits(text):
    """Yields the line of each co_await in a forbidden place, and the place."""
    if "co_await" not in text:
        return
    levels, saved = [Level("", "block")], []
    for kind, token, offset in tokens_of(text):
        if kind == "directive":
            take_directive(token, levels, saved)
        elif kind == "sign" and token in CLOSING:
            open_bracket(levels, token)
        elif kind == "sign" and token in CLOSING.values():
            if len(levels) > 1 and CLOSING[levels[-1].bracket] == token:
                close_bracket(levels)
        else:
            place = place_of_await(levels) if token == "co_await" else None
            if place is not None:
                yield text.count("\n", 0, offset) + 1, place
            levels[-1].add(kind, token)
