def test_first(first_run):
    print(first_run.result.output)
    print(first_run.states, first_run.versions)
    print(first_run.result.stderr)
    assert 0
