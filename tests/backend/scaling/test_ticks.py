import pytest

from backend.scaling.ticks import even_ticks, power_ticks, rate_ticks, size_ticks


def test_sizes_are_told_as_they_are_six_at_most() -> None:
    assert size_ticks([512, 1024, 512]) == [(512, "512"), (1024, "1,024")]
    assert len(size_ticks([2**power for power in range(6, 20)])) <= 6
    assert size_ticks([4096, 16384], 100)[-1] == (1048576, "1.05M")
    assert size_ticks([]) == rate_ticks([]) == []


def test_powers_are_told_over_a_wide_range_and_more_over_a_narrow_one() -> None:
    assert [text for _, text in power_ticks([3e11, 2e13])] == ["10¹¹", "10¹²", "10¹³", "10¹⁴"]
    assert [value for value, _ in power_ticks([1e12, 8e12])][:3] == pytest.approx([1e12, 2e12, 5e12])


@pytest.mark.parametrize(("low", "high"), [(90.0, 280.0), (3.0, 3.1), (0.001, 0.004), (7.0, 7.0)])
def test_even_ticks_are_round_and_span_the_values(low: float, high: float) -> None:
    values = [value for value, _ in even_ticks([low, high])]
    assert values[0] <= low
    assert values[-1] >= high * 0.999
    assert 2 <= len(values) <= 7


def test_far_values_have_powers_of_ten() -> None:
    assert [text for _, text in even_ticks([0.02, 40.0])][:4] == ["0.01", "0.1", "1", "10"]


def test_rates_are_told_in_two_digits() -> None:
    assert rate_ticks([0.0078125, 0.001]) == [(0.001, "0.001"), (0.0078125, "0.0078")]
