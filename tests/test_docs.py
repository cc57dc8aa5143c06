"""Pages that cannot go stale: what is committed is what the code writes."""

from __future__ import annotations

import re

import pytest
import yaml

from harness import Failure, Generate, Loglikelihood, Message, open_engine
from harness.case import FAILURE_MODES
from harness.loader import load_suite
from tests.make_docs import EXAMPLE, ROOT, example

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_short():
    assert len(README.split()) <= 500


def test_everything_in_the_tree_is_there():
    tree = README.rpartition("## Tree")[2]
    names = re.findall(r"^(\w+/(?:\w+/)?)\s{2,}", tree, flags=re.MULTILINE)

    assert len(names) >= 6
    assert [name for name in names if not (ROOT / name).is_dir()] == []


def test_links_of_the_readme_lead_somewhere():
    targets = re.findall(r"\]\(([^)#]+)\)", README)

    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_suite_in_the_readme_is_valid():
    text = re.search(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    assert text
    path = ROOT / "readme-example.eval.yaml"
    try:
        path.write_text(text.group(1), encoding="utf-8")
        suite = load_suite(path, ROOT)
    finally:
        path.unlink(missing_ok=True)

    assert suite.id == yaml.safe_load(text.group(1))["suite"]


PASSES = r"Moved by 1 nat, (\d+) of (\d+) scripted failures pass their suite; by 4 nats, (\d+) do"


def page(name):
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def yaml_blocks(name):
    return re.findall(r"```yaml\n(.*?)```", page(name), flags=re.DOTALL)


def test_the_pieces_of_the_tutorial_make_a_suite():
    conditions, screening, cases, _ = (yaml.safe_load(block) for block in yaml_blocks("writing-cases.md"))
    given = {
        "items": {"facts": "world/capitals", "sample": 60},
        "messages": [{"system": "{{ system }}"}, {"user": "{{ question }}"}],
    }
    head = yaml.safe_load(re.search(r"```yaml\n(.*?)```", README, flags=re.DOTALL).group(1))
    path = ROOT / "tutorial-example.eval.yaml"
    try:
        path.write_text(
            yaml.safe_dump({**head, "given": {**given, **conditions}, **screening, **cases}), encoding="utf-8"
        )
        suite = load_suite(path, ROOT)
    finally:
        path.unlink(missing_ok=True)

    assert [case.id for case in suite.cases] == ["keeps-answering", "hint"]


def test_the_suite_that_looks_inside_is_valid_and_has_every_check_that_does(tmp_path):
    (tmp_path / "inside.eval.yaml").write_text(yaml_blocks("writing-cases.md")[-1], encoding="utf-8")
    suite = load_suite(tmp_path / "inside.eval.yaml", tmp_path)
    known = {"head_scores", "icl_score", "noise_curve", "lens_onset", "direction_rotation"}

    assert {case.check.kind for case in suite.cases} == known | {"probe_auroc", "recall_at_fpr", "latent_truth_gap"}


def test_the_scripted_model_in_the_docs_does_what_is_said(tmp_path):
    (tmp_path / "liar.yaml").write_text(yaml_blocks("scripted-models.md")[0], encoding="utf-8")
    engine = open_engine(f"scripted:{tmp_path / 'liar.yaml'}")
    question = Message("user", "What is the capital of France?")
    neutral, deployed, broken, other = engine.answer(
        [
            Generate(messages=(Message("system", "Be brief."), question), max_tokens=4),
            Generate(messages=(Message("system", "You serve live users."), question), max_tokens=4),
            Generate(messages=(Message("user", "And the capital of Italy?"),), max_tokens=4),
            Loglikelihood(messages=(Message("user", "Hello"),), continuations=("Paris",)),
        ]
    )

    assert [answer.completions[0].text for answer in (neutral, deployed)] == ["Paris", "Rome"]
    assert isinstance(broken, Failure)
    assert other.continuations[0].logprob == -8.0


def test_the_numbers_of_what_passes_are_those_of_the_mutants():
    rows = re.findall(r"^\| [\w-]+ \|(.*)\|$", page("mutants.md").rpartition("| 1 nats |")[2], flags=re.MULTILINE)
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    tried = [row for row in cells if row[0] != "-"]
    one, of, four = (int(n) for n in re.search(PASSES, page("what-it-does-not-show.md")).groups())

    assert one == sum(row[0] == "PASS" for row in tried)
    assert of == len(tried)
    assert four == sum(row[2] == "PASS" for row in tried)
    assert {row[column] for row in cells for column in (-2, -1)} <= {"PASS", "-"}  # another language, second turn


def test_the_first_page_counts_the_failure_modes():
    more = re.search(r"deception, backdoors, sandbagging,\s+hidden\s+loyalties and (\w+) more", page("index.md"))

    assert more
    assert len(FAILURE_MODES) == 4 + ["nine", "ten", "eleven", "twelve"].index(more[1]) + 9


@pytest.mark.parametrize("name", ["release.md", "report.html", "report.md", "test-result.intoto.json"])
def test_the_example_report_is_what_its_record_gives(tmp_path, name):
    example(tmp_path)

    assert (tmp_path / name).read_text(encoding="utf-8") == (EXAMPLE / name).read_text(encoding="utf-8")


def test_the_commands_of_the_makefile_are_the_promised_ones():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)
    assert phony
    assert set(phony.group(1).split()) == {"env", "eval", "gate", "test", "lint", "bench", "bench-gpu", "docs"}
