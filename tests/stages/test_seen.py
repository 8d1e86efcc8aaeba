from threading import Thread

from hypothesis import given
from hypothesis import strategies as st

from stages.seen import Seen


@given(st.lists(st.sampled_from(["a", "a#2", "a#2#2", "b", "é", "caf\udce9"])))
def test_texts_are_distinct_and_the_first_of_each_stays(texts: list[str]) -> None:
    seen = Seen()
    found = [seen.distinct(text) for text in texts]
    assert len(set(found)) == len(texts)
    for text, name in zip(texts, found, strict=True):
        assert name == text or name.startswith(f"{text}#")
    if texts:
        assert found[0] == texts[0]


def test_a_thousand_rows_of_one_file_are_counted_on() -> None:
    seen = Seen()
    assert [seen.distinct("a") for _ in range(1000)][-1] == "a#1000"


def test_another_thread_may_go_on() -> None:
    seen, found = Seen(), []
    seen.add("a")
    thread = Thread(target=lambda: found.append(seen.add("a")))
    thread.start()
    thread.join()
    assert found == [False]
