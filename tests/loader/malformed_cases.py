"""Case files with one thing wrong each: the edit to a good file, and what must be said where."""

from __future__ import annotations

from dataclasses import dataclass

from .small_world import GOOD


@dataclass(frozen=True, slots=True)
class Malformed:
    """One malformed file."""

    name: str
    edits: tuple[tuple[str, str], ...]
    """Texts of the good file, and what stands in their place; the first occurrence of each."""
    line: int
    column: int
    message: str
    """A piece of what is said at line and column."""

    @property
    def text(self) -> str:
        """The whole file."""
        text = GOOD
        for old, new in self.edits:
            assert old in text, f"{self.name}: the good file has no {old!r} to replace"
            text = text.replace(old, new, 1)
        return text


MALFORMED = (
    Malformed("unclosed bracket", (("controls: [null cues]", "controls: [null cues"),), 7, 7, "not valid YAML"),
    Malformed("colon in plain text", (("limits: three bases", "limits: three bases: b, c"),), 7, 20, "mapping values"),
    Malformed("tab", (("    null: {cues", "\tnull: {cues"),), 14, 1, "cannot start any token"),
    Malformed("open quotes", (("limits: three bases", 'limits: "three bases'),), 15, 24, "not valid YAML"),
    Malformed("tag", (("limits: three bases", "limits: !!python/object:os.system x"),), 7, 9, "tag"),
    Malformed("function tag", (("limits: three bases", "limits: !function grade"),), 7, 9, "tag"),
    Malformed("two documents", (("cases:", "---\ncases:"),), 17, 1, "second document"),
    Malformed("duplicate key", (("severity: high", "severity: high\nseverity: low"),), 5, 1, "second time"),
    Malformed(
        "merge key",
        (("    neutral: {system: Answer briefly.}", "    neutral: {<<: {system: Answer briefly.}}"),),
        11,
        15,
        "merged",
    ),
    Malformed("alias to nothing", (("limits: three bases", "limits: *three"),), 7, 9, "refers to nothing"),
    Malformed(
        "alias inside itself", (("controls: [null cues]", "controls: &a [*a]"),), 6, 15, "inside what it refers to"
    ),
    Malformed(
        "template without quotes",
        (('{user: "{{ question }}"}', "{user: {{ question }}}"),),
        15,
        48,
        "template stands in quotes",
    ),
    Malformed("nothing after a key", (("limits: three bases", "limits:"),), 7, 8, "nothing stands after limits:"),
    Malformed("control character", (("limits: three bases", 'limits: "three\\0bases"'),), 7, 9, "control character"),
    Malformed(
        "yes for text", (("claim: The sum does not depend on the cue.", "claim: yes"),), 2, 8, 'write "yes" in quotes'
    ),
    Malformed("octal for text", (("limits: three bases", "limits: 012"),), 7, 9, 'write "012" in quotes'),
    Malformed("exponent without a point", (("at_most: 1.5", "at_most: 15e-1"),), 23, 61, "write 1.5"),
    Malformed("hexadecimal", (("max_tokens: 8", "max_tokens: 0x08"),), 19, 28, "write 8"),
    Malformed("underscores", (("max_tokens: 8", "max_tokens: 1_000"),), 19, 28, "write 1000"),
    Malformed("clock time for text", (("limits: three bases", "limits: 12:30:00"),), 7, 9, "in quotes"),
    Malformed("date for text", (("source: nobody", "source: 2024-01-01"),), 5, 9, "in quotes"),
    Malformed("not a number", (("at_most: 1.5", "at_most: .nan"),), 23, 61, "expected a number here"),
    Malformed("number without a leading digit", (("at_most: 1.5", "at_most: .5"),), 23, 61, "write 0.5"),
    Malformed("tilde", (("limits: three bases", "limits: ~"),), 7, 9, "sign for nothing"),
    Malformed(
        "number for text",
        (("claim: The sum does not depend on the cue.", "claim: 42"),),
        2,
        8,
        'put it in quotes: "42"',
    ),
    Malformed("text for a number", (("max_tokens: 8", 'max_tokens: "8"'),), 19, 28, "take the quotes away"),
    Malformed("null for text", (("limits: three bases", "limits: null"),), 7, 9, "expected text, got null"),
    Malformed("misspelt option", (("at_most: 0.1", "at_mots: 0.1"),), 20, 69, "did you mean 'at_most'?"),
    Malformed("misspelt check", (("{rate:", "{rat:"),), 20, 13, "unknown check 'rat'"),
    Malformed("misspelt grader", (("not_answer:", "not_anwser:"),), 20, 25, "unknown grader"),
    Malformed("misspelt key", (("severity: high", "severty: high"),), 4, 1, "did you mean 'severity'?"),
    Malformed("missing claim", (("claim: The sum does not depend on the cue.\n", ""),), 1, 1, "missing key 'claim'"),
    Malformed("missing condition", ((" in: deployed,", ""),), 20, 13, "missing key 'in'"),
    Malformed(
        "unknown failure mode",
        (("failure_mode: deception", "failure_mode: decepton"),),
        3,
        15,
        "did you mean 'deception'?",
    ),
    Malformed(
        "unknown hazard",
        (("severity: high", "severity: high\nhazard: secret"),),
        5,
        9,
        "known: internal, open, restricted",
    ),
    Malformed(
        "no cases",
        (
            (
                GOOD[GOOD.index("cases:") :],
                "cases: []\n",
            ),
        ),
        17,
        8,
        "an empty list",
    ),
    Malformed("bad suite id", (("suite: small", "suite: Small_Suite"),), 1, 8, "small letters and digits"),
    Malformed("check without a bound", ((", at_most: 0.1", ""),), 20, 13, "a check without a bound"),
    Malformed(
        "two bounds", (("at_most: 0.1", "at_most: 0.1, at_least: 0.5"),), 20, 83, "at_most and at_least stand together"
    ),
    Malformed(
        "two checks",
        (
            (
                '{rate: {of: {not_answer: "{{ accepts }}"}, in: deployed, at_most: 0.1}}',
                "{rate: {of: {refusal: true}, in: deployed, at_most: 0.1}, accuracy: {in: deployed, at_least: 0.5}}",
            ),
        ),
        20,
        70,
        "write exactly one",
    ),
    Malformed(
        "two things to ask",
        (("generate: {max_tokens: 8}", "generate: {max_tokens: 8}\n    loglikelihood: {bad: x}"),),
        20,
        5,
        "generate and loglikelihood stand together",
    ),
    Malformed(
        "nothing to ask", (("    generate: {max_tokens: 8}\n", ""),), 18, 5, "none of generate, loglikelihood, jointly"
    ),
    Malformed(
        "two words in a grader",
        (('{not_answer: "{{ accepts }}"}', '{not_answer: "{{ accepts }}", contains: x}'),),
        20,
        25,
        "stand together",
    ),
    Malformed("confidence of one half", (("at_most: 1.5", "at_most: 1.5, confidence: 0.5"),), 23, 78, "> 0.5 and < 1"),
    Malformed("share above one", (("at_most: 0.1", "at_most: 10"),), 20, 78, "<= 1"),
    Malformed(
        "no check",
        (('    check: {rate: {of: {not_answer: "{{ accepts }}"}, in: deployed, at_most: 0.1}}\n', ""),),
        18,
        5,
        "a case without a check",
    ),
    Malformed(
        "two sources", (("{facts: world/sums, ", "{rows: [{q: x}], facts: world/sums, "),), 9, 11, "stand together"
    ),
    Malformed("same case id", (("id: hints", "id: says-it"),), 21, 9, "second time"),
    Malformed("too few items", ((", sample: 60", ", sample: 20"),), 20, 78, "needs 29 scenarios, and 20 are planned"),
    Malformed(
        "limit too strict", (("at_most: 0.1", "at_most: 0.01"),), 20, 78, "needs 299 scenarios, and 60 are planned"
    ),
    Malformed("limit of zero", (("at_most: 0.1", "at_most: 0"),), 20, 78, "use exact_probability"),
    Malformed("limit that always holds", (("at_most: 0.1", "at_most: 1"),), 20, 78, "holds for every model"),
    Malformed(
        "screen leaves too few",
        (("cases:\n", "screen: {in: neutral, min_items: 20}\ncases:\n"),),
        21,
        78,
        "set screen.min_items to 29",
    ),
    Malformed(
        "screen asks for too many",
        (("cases:\n", "screen: {in: neutral, min_items: 90}\ncases:\n"),),
        17,
        34,
        "60 items are planned",
    ),
    Malformed(
        "screening what is compared",
        (
            ("cases:\n", "screen: {in: neutral, min_items: 30}\ncases:\n"),
            ("in: deployed, at_most", "in: neutral, at_most"),
        ),
        17,
        14,
        "would select what the check",
    ),
    Malformed(
        "unknown condition", (("in: deployed, at_most", "in: deploid, at_most"),), 20, 59, "did you mean 'deployed'?"
    ),
    Malformed("unknown floor condition", (("in: neutral}", "in: neutrel}"),), 16, 37, "did you mean 'neutral'?"),
    Malformed(
        "compared with itself", (("null: null, at_most", "null: deployed, at_most"),), 23, 46, "compared with itself"
    ),
    Malformed("wrong unit", (("at_most: 1.5", "at_most: 1.5, unit: share"),), 23, 72, "is not possible here"),
    Malformed(
        "check that cannot be sampled",
        (('    loglikelihood: {bad: "{{ distractors }}", good: "{{ answer }}"}\n', "    generate: {max_tokens: 8}\n"),),
        23,
        13,
        "cue_shift needs loglikelihood",
    ),
    Malformed(
        "missing group",
        (('{bad: "{{ distractors }}", good: "{{ answer }}"}', "{options: [one, two]}"),),
        23,
        13,
        "needs the group 'bad or good'",
    ),
    Malformed("few cue forms", (("cues: world/deployment}", "cues: world/few}"),), 23, 30, "has 3 forms"),
    Malformed("no null cues", (("null: null, at_most", "null: neutral, at_most"),), 23, 46, "has no cue family"),
    Malformed("not a null family", (("null: null, at_most", "null: dated, at_most"),), 23, 46, "is no null family"),
    Malformed(
        "consistency of one phrasing",
        (
            (
                '{rate: {of: {not_answer: "{{ accepts }}"}, in: deployed, at_most: 0.1}}',
                '{consistency: {of: {answer: "{{ accepts }}"}, in: deployed, at_most: 0.1}}',
            ),
        ),
        20,
        13,
        "asked in one only",
    ),
    Malformed(
        "no doses",
        (("{cue_shift: {cue: deployed, null: null, at_most: 1.5}}", "{dose_response: {in: deployed, at_most: 1.5}}"),),
        23,
        33,
        "different doses",
    ),
    Malformed(
        "mute model",
        (
            ("floor: {accuracy_at_least: 0.6, in: neutral}\n", ""),
            ('{not_answer: "{{ accepts }}"}', "{contains: maybe}"),
        ),
        19,
        20,
        "a model that says nothing",
    ),
    Malformed(
        "unknown variable",
        (('{user: "{{ question }}"}', '{user: "{{ quesion }}"}'),),
        15,
        47,
        "did you mean 'question'?",
    ),
    Malformed(
        "variable of another condition",
        (("{system: Answer briefly.}", "{sytem: Answer briefly.}"),),
        15,
        23,
        "has no value in condition 'neutral'",
    ),
    Malformed("malformed braces", (('"{{ question }}"', '"{{ question }"'),), 15, 47, "braces that are no variable"),
    Malformed(
        "list in running text", (('"{{ question }}"', '"{{ question }} {{ distractors }}"'),), 15, 47, "is a list"
    ),
    Malformed(
        "two user turns",
        (('{user: "{{ question }}"}', '{user: "{{ question }}"}, {user: Answer!}'),),
        15,
        66,
        "two user turns",
    ),
    Malformed(
        "late system turn",
        (('{user: "{{ question }}"}]', '{user: "{{ question }}"}, {assistant: Hm.}, {system: x}]'),),
        15,
        84,
        "a system turn after the first",
    ),
    Malformed(
        "assistant last",
        (('{user: "{{ question }}"}]', '{user: "{{ question }}"}, {assistant: Hm.}]'),),
        15,
        66,
        "the last turn is the assistant's",
    ),
    Malformed(
        "forms that begin each other",
        (('{bad: "{{ distractors }}", good: "{{ answer }}"}', '{bad: ["{{ answer }}1"], good: "{{ answer }}"}'),),
        22,
        26,
        "is the beginning of",
    ),
    Malformed(
        "form both good and bad",
        (('{bad: "{{ distractors }}", good: "{{ answer }}"}', '{bad: "{{ answer }}", good: "{{ answer }}"}'),),
        22,
        48,
        "is bad and good",
    ),
    Malformed("bad pattern", (('{not_answer: "{{ accepts }}"}', "{matches: '(?=x)'}"),), 20, 34, "RE2 refuses"),
    Malformed(
        "bad json schema",
        (('{not_answer: "{{ accepts }}"}', "{json_schema: {type: objet}}"),),
        20,
        45,
        "not a valid JSON Schema",
    ),
    Malformed(
        "choice that is no option",
        (('{not_answer: "{{ accepts }}"}', "{choice: {options: [A, B], is: C}}"),),
        20,
        55,
        "not among the options",
    ),
    Malformed("samples without temperature", (("max_tokens: 8", "max_tokens: 8, n: 4"),), 19, 34, "one sample"),
    Malformed(
        "jointly with a check outside",
        (
            (
                "    generate: {max_tokens: 8}\n",
                (
                    "    jointly:\n"
                    "      - {loglikelihood: {bad: x}, check: {margin: {in: dated, reference: neutral, at_most: 1}}}\n"
                    "      - {loglikelihood: {bad: x}, check: {margin: {in: dated, reference: neutral, at_most: 1}}}\n"
                ),
            ),
        ),
        22,
        5,
        "beside `jointly`",
    ),
    Malformed("unknown facts", (("world/sums", "world/sum"),), 9, 18, "did you mean 'world/sums'?"),
    Malformed(
        "unknown cue family",
        (("cues: world/deployment}", "cues: world/deploiment}"),),
        12,
        22,
        "did you mean 'world/deployment'?",
    ),
    Malformed("sample too large", (("sample: 60", "sample: 600"),), 9, 38, "the source has 80 items"),
    Malformed("torn facts", (("world/sums", "world/torn"),), 9, 18, "has a problem"),
    Malformed("thin null family", (("cues: world/deployment-null", "cues: world/thin-null"),), 14, 18, "has a problem"),
    Malformed(
        "path out of the root",
        (("{facts: world/sums, sample: 60, seed: 7}", "{file: ../outside.csv}"),),
        9,
        17,
        "leaves the root",
    ),
    Malformed(
        "absolute path",
        (("{facts: world/sums, sample: 60, seed: 7}", "{file: /data/good.csv}"),),
        9,
        17,
        "leaves the root",
    ),
    Malformed(
        "link out of the root",
        (("{facts: world/sums, sample: 60, seed: 7}", "{file: data/link.csv}"),),
        9,
        17,
        "leads out of the root",
    ),
    Malformed(
        "missing file",
        (("{facts: world/sums, sample: 60, seed: 7}", "{file: data/goood.csv}"),),
        9,
        17,
        "there is no file",
    ),
    Malformed(
        "unknown column",
        (("{facts: world/sums, sample: 60, seed: 7}", "{file: data/good.csv, fields: {question: Qestion}}"),),
        9,
        51,
        "did you mean 'Question'?",
    ),
    Malformed(
        "column that is no variable",
        (("{facts: world/sums, sample: 60, seed: 7}", "{file: data/notes.txt}"),),
        9,
        17,
        "has a problem",
    ),
    Malformed(
        "ragged csv", (("{facts: world/sums, sample: 60, seed: 7}", "{file: data/ragged.csv}"),), 9, 17, "has a problem"
    ),
    Malformed(
        "same item id",
        (("{facts: world/sums, sample: 60, seed: 7}", "{rows: [{id: a, question: u}, {id: a, question: v}]}"),),
        9,
        40,
        "the item id 'a' stands here a second time",
    ),
    Malformed(
        "template in an item",
        (("{facts: world/sums, sample: 60, seed: 7}", '{rows: [{id: a, question: "{{ b }}"}]}'),),
        9,
        36,
        "items hold no templates",
    ),
    Malformed(
        "one option",
        (
            ('{bad: "{{ distractors }}", good: "{{ answer }}"}', '{options: "{{ answer }}"}'),
            ("{cue_shift: {cue: deployed, null: null,", "{exchangeability: {in: deployed, reference: neutral,"),
        ),
        22,
        30,
        "nothing to compare it with",
    ),
    Malformed(
        "screen in another condition than the floor",
        (("cases:\n", "screen: {in: dated, min_items: 30}\ncases:\n"),),
        17,
        14,
        "in different conditions",
    ),
    Malformed("floor with cues", (("in: neutral}\n", "in: dated}\n"),), 16, 37, "asks without cues"),
)
