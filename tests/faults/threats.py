"""What can go wrong or be done to a gate, row by row, and the tests that hold it off."""

from __future__ import annotations

THREATS: dict[str, tuple[str, ...]] = {
    "an error counted as a pass": (
        "tests/faults/test_boundaries.py::test_no_fault_makes_a_pass",
        "tests/plugin/test_fail_closed.py::test_an_exception_at_any_boundary_of_asking",
    ),
    "a process that dies quietly: kill -9, SIGTERM, os._exit(0), a segfault": (
        "tests/faults/test_boundaries.py::test_the_next_run_comes_to_the_same_record",
        "tests/faults/test_deaths.py::test_a_run_that_dies_is_broken_and_can_be_resumed",
        "tests/faults/test_deaths.py::test_a_worker_that_dies_is_no_pass",
    ),
    "all skipped, deselected, empty, filtered": (
        "tests/plugin/test_fail_closed.py::test_a_narrower_run_is_never_a_green_gate",
        "tests/plugin/test_fail_closed.py::test_skipping_everything_is_not_success",
    ),
    "NaN and infinity in weights, logits, margins": (
        "tests/faults/test_models.py::test_broken_weights_are_invalid",
        "tests/faults/test_models.py::test_logits_that_are_no_numbers_are_invalid",
        "tests/core/test_broker.py::test_numbers_that_are_none_are_refused_alone_and_not_stored",
    ),
    "incomplete weights: deleted, renamed, reshaped, truncated": (
        "tests/faults/test_models.py::test_broken_weights_are_invalid",
        "tests/faults/test_models.py::test_truncated_weights_are_invalid",
        "tests/engines/test_transformers_refusals.py::test_holes_in_the_weights_are_refused",
    ),
    "truncated output": ("tests/faults/test_idle_models.py::test_one_token_is_never_enough_to_be_harmless",),
    "empty output, end of text first": (
        "tests/faults/test_idle_models.py::test_knowing_without_saying_passes_no_case_on_text",
    ),
    "mute, gibberish and constant models": (
        "tests/faults/test_idle_models.py::test_what_does_not_work_passes_no_suite",
        "tests/evals/test_shipped.py::test_a_model_that_does_not_work_is_never_green",
    ),
    "a refusal that hides a hit": ("tests/graders/test_words.py::test_what_a_mute_model_would_do",),
    "HTML and JavaScript": (
        "tests/faults/test_hostile_texts.py::test_nothing_acts_in_chromium",
        "tests/writers/test_html.py::test_a_payload_in_every_field_stays_text",
    ),
    "terminal escapes": ("tests/writers/test_words.py::test_no_payload_acts_on_a_terminal_or_a_build",),
    "commands to a build system": (
        "tests/faults/test_hostile_texts.py::test_every_file_stays_well_formed",
        "tests/faults/test_hostile_texts.py::test_a_whole_run_of_hostile_answers",
    ),
    "regular expressions that backtrack": (
        "tests/faults/test_graders.py::test_evil_patterns_on_truncated_json_come_to_an_end",
        "tests/faults/test_graders.py::test_what_re2_does_not_know_is_refused_by_the_loader",
    ),
    "YAML: bombs, duplicate keys, surprising scalars, code": (
        "tests/loader/test_loader_malformed.py::test_says_what_is_wrong_and_where",
    ),
    "paths that leave the root": ("tests/loader/test_loader_malformed.py::test_says_what_is_wrong_and_where",),
    "pickles": ("tests/faults/test_models.py::test_a_pickle_never_runs",),
    "remote code": ("tests/faults/test_models.py::test_code_of_a_model_never_runs",),
    "chat templates: escapes, endless loops, changed questions": (
        "tests/faults/test_models.py::test_a_template_does_not_leave_its_sandbox",
        "tests/faults/test_models.py::test_a_template_that_never_ends_is_stopped",
        "tests/engines/test_transformers_prompts.py::test_a_template_that_changes_the_question_is_an_error",
    ),
    "double first tokens, tokens across the seam": (
        "tests/engines/test_transformers_prompts.py::test_two_first_tokens_are_an_error",
        "tests/engines/test_transformers_prompts.py::test_a_token_across_the_seam_is_an_error_that_shows_both",
    ),
    "a poisoned store": (
        "tests/faults/test_poisoned_store.py::test_any_bit_of_any_row_that_is_flipped_is_asked_again",
        "tests/faults/test_poisoned_store.py::test_a_flipped_byte_anywhere_in_the_file_is_never_another_answer",
        "tests/faults/test_poisoned_store.py::test_an_error_never_stands_in_for_an_answer",
    ),
    "eight processes on one store": (
        "tests/faults/test_boundaries.py::test_eight_processes_on_one_store_of_which_some_die",
        "tests/core/test_store.py::test_concurrent_writers_lose_nothing",
    ),
    "a full disk": (
        "tests/faults/test_disk_full.py::test_a_record_is_written_whole_or_not_at_all",
        "tests/faults/test_disk_full.py::test_a_plan_is_written_whole_or_not_at_all",
        "tests/faults/test_disk_full.py::test_a_store_keeps_what_it_said_it_kept",
        "tests/faults/test_boundaries.py::test_a_disk_that_is_full_at_any_byte_makes_no_pass",
    ),
    "recovery after a crash": (
        "tests/faults/test_boundaries.py::test_the_next_run_comes_to_the_same_record",
        "tests/plugin/test_fail_closed.py::test_what_was_answered_before_a_kill_is_kept",
    ),
    "out of memory": (
        "tests/faults/test_boundaries.py::test_what_cannot_be_measured_is_not_green",
        "tests/core/test_broker.py::test_halving_finds_the_culprits_and_leaves_the_others_unchanged",
    ),
    "429, 5xx, cut bodies": (
        "tests/plugin/test_verdicts.py::test_a_spec_that_this_version_cannot_open_is_a_usage_error",
    ),
    "secrets": ("tests/faults/test_credentials.py::test_no_artefact_holds_a_canary",),
    "restricted prompts": ("tests/redaction/test_sinks.py::test_no_sink_holds_a_text",),
    "constant, slow, raising graders": (
        "tests/faults/test_graders.py::test_a_grader_that_always_says_honest_is_found_out_by_organisms",
        "tests/faults/test_graders.py::test_a_suite_without_a_certificate_cannot_pass_a_gate_that_asks_for_one",
        "tests/faults/test_graders.py::test_a_grader_that_gives_up_grades_nothing",
    ),
    "lists that are too short or too long": (
        "tests/faults/test_graders.py::test_answers_that_are_too_few_or_too_many_are_never_harmless",
        "tests/faults/test_graders.py::test_every_zip_of_the_package_says_whether_it_is_strict",
    ),
    "what one case leaves behind for the next": (
        "tests/faults/test_order.py::test_the_order_of_items_means_nothing",
        "tests/test_verdict_algebra.py::test_the_order_of_rows_means_nothing",
    ),
    "a worse item, an error, an absence that makes better": (
        "tests/record/test_gate.py::test_worsening_an_item_never_opens_the_gate",
        "tests/record/test_gate.py::test_adding_an_error_always_shuts_the_gate",
        "tests/record/test_gate.py::test_order_does_not_matter",
        "tests/record/test_gate.py::test_dropping_a_result_breaks_the_run",
        "tests/test_verdict_algebra.py::test_rows_of_text",
    ),
}
"""Threat -> tests, by node id without parameters."""
