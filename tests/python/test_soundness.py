"""No trap is silently wrong: it is equal, refused at preparation, or raises at the call that breaks an assumption."""

import pytest

from soundness import aliasing, ambient, calls, decisions, leaks, shapes, state, wrapped  # noqa: F401 - each registers its traps
from soundness.rule import CRASH, SOUND, TRAPS, WRONG, judge

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # what the traps do is not always advisable

# What breaks the rule, by capture: silently different. Exactly these do, so what is mended must leave the list.
WRONG_TODAY: dict[str, list[str]] = {
    "run": """
        attribute_counter attribute_tensor buffer_assigned builtin_any_of_rows contiguity_asked
        custom_backward_with_a_size custom_backward_with_saved_tensors default_dtype_asked dict_written
        dtype_decision dtype_in_a_tuple epsilon_of_the_dtype exact_types_of_values
        features_kept_for_later filtered_rows gradient_reversal_by_hook history_in_a_list input_dict_written
        input_list_appended literal_dtype made_on_the_first_call mode_of_a_child_asked parity_of_a_size
        requires_grad_asked straight_through_function text_of_a_dtype type_of_a_size values_logged
    """.split(),
    "child": """
        attribute_counter attribute_tensor buffer_assigned builtin_any_of_rows contiguity_asked
        custom_backward_with_a_size custom_backward_with_saved_tensors default_dtype_asked dict_written
        dtype_decision dtype_in_a_tuple epsilon_of_the_dtype exact_types_of_values
        features_kept_for_later filtered_rows gradient_reversal_by_hook history_in_a_list input_dict_written
        input_list_appended literal_dtype made_on_the_first_call mode_of_a_child_asked parity_of_a_size
        requires_grad_asked straight_through_function text_of_a_dtype type_of_a_size values_logged
    """.split(),
    "symbolic": """
        attribute_counter attribute_tensor buffer_assigned class_counter
        configured_between_calls custom_backward_with_a_size custom_backward_with_saved_tensors
        default_dtype_asked default_dtype_changed_inside dict_written
        exact_types_of_values exception_by_a_key features_kept_for_later fork_of_the_random_state
        get_with_default global_counter global_tensor_list global_value_of_the_last_call grown_when_needed
        history_in_a_list made_on_the_first_call membership_in_a_set mode_of_a_child_asked numpy_random
        python_random python_random_choice seeded_inside state_in_a_closure state_in_an_iterator
        state_of_a_child straight_through_function text_of_a_dtype text_of_the_columns type_of_a_size
        values_logged version_counter
    """.split(),
}

# What ends with an error, but one that is not modulize's and does not say what to do.
UNCLEAR_TODAY: dict[str, list[str]] = {
    "run": """
        builtin_all_of_rows compiled list_of_inputs map_and_filter next_that_fits pad_sequence_of_parts
        ragged_list scripted_root split_by_lengths state_in_a_generator_function
    """.split(),
    "child": """
        builtin_all_of_rows compiled flags_and_words list_of_inputs map_and_filter next_that_fits
        pad_sequence_of_parts ragged_list split_by_lengths state_in_a_generator_function
    """.split(),
    "symbolic": """
        children_replaced_while_running divmod_of_a_size epsilon_of_the_dtype f_string_of_a_size functional_gradient
        functional_call_with_other_weights global_cache_by_size hook_that_taps input_object_written
        json_of_a_size key_of_a_dict lowest_of_the_dtype module_with_random_weights_made_in_forward noise
        numpy_generator_seeded_by_a_size packed_sequence raise_on_a_value round_of_a_size scripted_function
        scripted_root suppressed text_of_a_value vmap_over_rows
    """.split(),
}


@pytest.mark.parametrize("capture", ["run", "child", "symbolic"])
@pytest.mark.parametrize("name", TRAPS)
def test_never_silently_wrong(name, capture):
    verdict = judge(TRAPS[name], capture)
    said = f"{verdict.kind}: {verdict.text}"
    if name in WRONG_TODAY[capture]:
        assert verdict.kind == WRONG, f"no longer silently wrong ({said}): take it out of WRONG_TODAY"
    elif name in UNCLEAR_TODAY[capture]:
        assert verdict.kind == CRASH, f"no longer unclear ({said}): take it out of UNCLEAR_TODAY"
    else:
        assert verdict.kind in SOUND, said


def test_there_are_many_traps():
    assert len(TRAPS) >= 300
    for lists in (WRONG_TODAY, UNCLEAR_TODAY):
        for names in lists.values():
            assert set(names) <= set(TRAPS)
            assert len(set(names)) == len(names)
