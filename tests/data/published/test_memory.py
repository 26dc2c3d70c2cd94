from data.published.memory import Memory


def test_the_last_entries_are_remembered_and_the_first_forgotten():
    memory: Memory[int, str] = Memory(3)
    memory.put({1: "a", 2: "b"})
    memory.put({3: "c", 4: "d"})
    assert [memory.get(key) for key in (1, 2, 3, 4)] == [None, "b", "c", "d"]
    memory.put(dict.fromkeys(range(10, 20), "x"))
    assert len(memory) == 3
    assert memory.get(19) == "x"
