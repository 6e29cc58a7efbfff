"""The panels of many runs: as many as there are, in rows of a few, on one scale."""

import pytest

from a2sg.study.report import draw


@pytest.mark.parametrize("count", [1, 2, draw.ACROSS, draw.ACROSS + 1, 3 * draw.ACROSS - 1])
def test_columns_stand_in_rows_of_a_few(count):
    titles = [f"run {at}" for at in range(count)]
    figure, grid = draw.columns(titles, ("above", "below"), 4.0, 2.0)
    assert [len(line) for line in grid] == [count, count]
    assert [axes.get_title() for axes in grid[0]] == titles
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == len({id(axes) for line in grid for axes in line}) == 2 * count
    assert figure.get_size_inches()[0] <= max(5.0, 4.0 * draw.ACROSS)
    for at, (above, below) in enumerate(zip(*grid, strict=True)):
        above.plot([0, 1], [1, 10 ** (at + 1)])
        places = [axes.get_subplotspec() for axes in (above, below)]
        assert places[0].colspan == places[1].colspan
        assert places[0].rowspan.stop == places[1].rowspan.start
        assert (above.get_ylabel() == "above") == (at % draw.ACROSS == 0)
    grid[0][0].set_yscale("log")
    figure.draw_without_rendering()
    assert {axes.get_ylim() for axes in grid[0]} == {grid[0][0].get_ylim()}
    assert grid[0][0].get_ylim()[1] >= 10**count
    assert {axes.get_yscale() for axes in grid[0]} == {"log"}
    assert {axes.get_yscale() for axes in grid[1]} == {"linear"}


def test_columns_may_have_scales_of_their_own():
    _, ((one, other),) = draw.columns(["a", "b"], ("",), 4.0, 2.0, share=False)
    one.set_ylim(0, 1)
    other.set_ylim(0, 5)
    assert one.get_ylim() == (0, 1)
