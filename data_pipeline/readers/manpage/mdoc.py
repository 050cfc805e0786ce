"""The macros of mdoc(7), BSD's language for man pages."""

from data_pipeline.readers.manpage import roff

_CLOSING = frozenset(". , : ; ) ] ? !".split())
_OPENING = frozenset("( [".split())
# Macros that enclose their arguments on the line.
_ENCLOSING = {
    "Op": ("[", "]"), "Bq": ("[", "]"), "Brq": ("{", "}"), "Pq": ("(", ")"), "Aq": ("<", ">"),
    "Dq": ("\u201c", "\u201d"), "Sq": ("\u2018", "\u2019"), "Qq": ('"', '"'), "Ql": ("'", "'"),
    "Do": ("\u201c", ""), "Dc": ("\u201d", ""), "So": ("\u2018", ""), "Sc": ("\u2019", ""),
    "Qo": ('"', ""), "Qc": ('"', ""), "Po": ("(", ""), "Pc": (")", ""), "Bo": ("[", ""),
    "Bc": ("]", ""), "Oo": ("[", ""), "Oc": ("]", ""), "Ao": ("<", ""), "Ac": (">", ""),
    "Bro": ("{", ""), "Brc": ("}", ""),
}  # fmt: skip
_CLOSERS = frozenset("Dc Sc Qc Pc Bc Oc Ac Brc".split())
_OPENERS = frozenset("Do So Qo Po Bo Oo Ao Bro".split())
_PLAIN = frozenset(
    """Ar Cm Ic Pa Li Em Sy No Va Vt Ft Fa Ev Er Dv Tn Ms Mt An Ad Cd Ux Bx Fx Nx Ox At Lb Xo Xc Sx
    Fr Hf St Rv Ex Eo Ec Bsx Dx Cx""".split()
)
_NAMES = {"Ux": "UNIX", "Bx": "BSD", "Fx": "FreeBSD", "Nx": "NetBSD", "Ox": "OpenBSD",
          "Dx": "DragonFly", "Bsx": "BSD/OS", "At": "AT&T UNIX"}  # fmt: skip
_MACROS = _PLAIN | frozenset(_ENCLOSING) | frozenset("Nm Fl Xr Fn Ns Ap Pf".split())


class Mdoc:
    """One handler per block macro; the macros of a line are put together in _inline."""

    def __init__(self, page: roff.Page):
        self.page = page
        self._name = ""
        self._title = ["", ""]
        self._lists: list[tuple[str, int]] = []
        self._numbers: list[int] = []
        self._parameters: list[str] | None = None  # of the function that .Fo opened
        self._reference: list[tuple[str, str]] | None = None  # parts of the work that .Rs opened

    def other(self, name: str, arguments: list[str]) -> None:
        if name in _MACROS:
            self.page.text(self._inline([name, *arguments]))
        elif name.startswith("%"):
            text = self._inline(arguments)
            if self._reference is None:
                self.page.text(text)
            else:
                self._reference.append((name, text))

    def on_Rs(self, arguments):
        self.page.paragraph()
        self._reference = []

    def on_Re(self, arguments):
        found, self._reference = self._reference or [], None
        authors = " and ".join(text for name, text in found if name == "%A")
        parts = [authors, *(text for name, text in found if name != "%A")]
        sentence = ", ".join(part for part in parts if part)
        if sentence:
            self.page.text(sentence if sentence.endswith(".") else f"{sentence}.")

    def on_Dd(self, arguments):
        pass

    on_Os = on_Bk = on_Ek = on_Sm = on_Bf = on_Ef = on_Tg = on_Dd

    def on_Dt(self, arguments):
        page = arguments + ["", ""]
        self.page.heading(f"{page[0]}({page[1]})" if page[1] else page[0])

    def on_Sh(self, arguments):
        self._lists.clear()
        self.page.reset_indent()
        self.page.expect_heading(self._inline(arguments))

    on_Ss = on_Sh

    def on_Pp(self, arguments):
        self.page.paragraph()

    on_Lp = on_Pp

    def on_Nd(self, arguments):
        self.page.text("- " + self._inline(arguments))

    def on_Nm(self, arguments):
        if not self._name and arguments:
            self._name = arguments[0]
        self.page.text(self._inline(["Nm", *arguments]))

    def on_In(self, arguments):
        self._line(f"#include <{' '.join(arguments)}>")

    def on_Fd(self, arguments):
        self._line(" ".join(arguments))

    def on_Ft(self, arguments):
        self.page.line_break()
        self.page.text(" ".join(arguments))

    def on_Fo(self, arguments):
        self.page.text(" ".join(arguments) + "(")
        self._parameters = []

    def on_Fa(self, arguments):
        if self._parameters is None:
            self.page.text(self._inline(["Fa", *arguments]))
        else:
            self._parameters += arguments

    def on_Fc(self, arguments):
        self.page.append(", ".join(self._parameters or []) + ")")
        self._parameters = None

    def on_Lk(self, arguments):
        after = arguments.pop() if arguments and arguments[-1] in _CLOSING else ""
        self.page.text((" ".join(arguments[1:]) or "".join(arguments)) + after)

    def on_Ex(self, arguments):
        names = arguments[1:] or [self._name]
        utility = "utilities exit" if len(names) > 1 else "utility exits"
        self.page.text(f"The {_listed(names)} {utility} 0 on success, and >0 if an error occurs.")

    def on_Rv(self, arguments):
        names = [f"{name}()" for name in arguments[1:] or [self._name]]
        function = "functions return" if len(names) > 1 else "function returns"
        self.page.text(
            f"The {_listed(names)} {function} the value 0 if successful; otherwise the value -1 is "
            "returned and the global variable errno is set to indicate the error."
        )

    def on_St(self, arguments):
        standard = arguments[0].removeprefix("-") if arguments else ""
        if standard.startswith("p1003"):
            standard = f"IEEE Std {standard[1:]}"
        self.page.text(self._inline([standard, *arguments[1:]]))

    def on_An(self, arguments):
        if arguments[:1] not in (["-split"], ["-nosplit"]):
            self.page.text(self._inline(["An", *arguments]))

    def _line(self, text: str) -> None:
        self.page.line_break()
        self.page.text(text)
        self.page.line_break()

    def on_Dl(self, arguments):
        self.page.paragraph()
        self.page.no_fill(True)
        self.page.text("    " + self._inline(arguments))
        self.page.no_fill(False)

    on_D1 = on_Dl

    def on_Bd(self, arguments):
        self.page.paragraph()
        if any(kind in arguments for kind in ("-literal", "-unfilled")):
            self.page.no_fill(True)

    def on_Ed(self, arguments):
        self.page.no_fill(False)
        self.page.paragraph()

    def on_Bl(self, arguments):
        kind = next((each for each in arguments if each.startswith("-")), "-tag")
        if len(self._lists) < 20:
            self._lists.append((kind, self.page.indent))
            self._numbers.append(0)
        self.page.paragraph()

    def on_El(self, arguments):
        self.page.paragraph()
        if self._lists:
            self._numbers.pop()
            self.page.set_indent(self._lists.pop()[1])

    def on_It(self, arguments):
        kind, indent = self._lists[-1] if self._lists else ("-tag", 0)
        self.page.paragraph()
        self.page.set_indent(indent)
        if kind in ("-bullet", "-dash", "-hyphen"):
            self.page.item("-", indent + 1)
        elif kind == "-enum":
            self._numbers[-1] += 1
            self.page.item(f"{self._numbers[-1]}.", indent + 1)
        elif kind == "-column":
            cells = " ".join(arguments).replace("\t", " | ").replace(" Ta ", " | ")
            self.page.text(self._inline(cells.split()))
        else:
            self.page.text(self._inline(arguments))
            self.page.end_tag(indent + 1)

    def _inline(self, words: list[str]) -> str:
        """Puts the macros of one line together: .Op Fl a Ar file -> [-a file]."""
        out: list[str] = []
        closing: list[str] = []
        glue = False

        def put(text, *, left=False):
            nonlocal glue
            if not text:
                return
            if out and (glue or left):
                out[-1] += text
            else:
                out.append(text)
            glue = False

        position = 0
        while position < len(words):
            word = words[position]
            position += 1
            if word in ("Ns", "Ap", "Pf"):
                if word == "Ap":
                    put("'", left=True)
                if word == "Pf" and position < len(words):
                    put(words[position])
                    position += 1
                glue = True
            elif word in _ENCLOSING:
                opening, end = _ENCLOSING[word]
                put(opening, left=word in _CLOSERS)
                if word not in _CLOSERS:
                    glue = True
                if word not in _CLOSERS | _OPENERS:
                    closing.append(end)
            elif word == "Nm":
                following = words[position] if position < len(words) else ""
                if not following or following in _CLOSING or following in _MACROS:
                    put(self._name)
            elif word == "Fl":
                following = words[position] if position < len(words) else ""
                if following and following not in _CLOSING and following not in _MACROS:
                    put("-" + following)
                    position += 1
                else:
                    put("-")
            elif word == "Xr":
                name, section = (words[position : position + 2] + ["", ""])[:2]
                is_section = bool(section) and section not in _CLOSING
                put(f"{name}({section})" if is_section else name)
                position += 2 if is_section else 1
            elif word == "Fn":
                name = words[position] if position < len(words) else ""
                position += 1
                inner = []
                while position < len(words) and words[position] not in _CLOSING:
                    inner.append(words[position])
                    position += 1
                put(f"{name}({', '.join(inner)})")
            elif word in _NAMES and not (position < len(words) and words[position] in _MACROS):
                put(_NAMES[word])
            elif word == "Ar" and (position == len(words) or words[position] in _CLOSING):
                put("file ...")
            elif word in _PLAIN:
                continue
            elif word in _CLOSING:
                while closing and position == len(words):
                    put(closing.pop(), left=True)
                put(word, left=True)
            elif word in _OPENING:
                put(word)
                glue = True
            else:
                put(word)
        while closing:
            put(closing.pop(), left=True)
        return " ".join(out)


def _listed(names: list[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
