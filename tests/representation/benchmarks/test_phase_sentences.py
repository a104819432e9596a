from representation.benchmarks.phase_sentences import PHASES, THINGS, VOCAB, WORDS, drawn_episodes
from representation.structure.ponet import MARKS


def test_an_episode_has_its_phases_in_order_and_one_thing():
    things = set()
    for episode in drawn_episodes(50, seed=0):
        assert len(episode) == len(PHASES)
        about = {token for sentence in episode for token in sentence if token >= VOCAB - THINGS}
        assert len(about) == 1
        things |= about
        for phase, sentence in enumerate(episode):
            words = [token for token in sentence if token < VOCAB - THINGS]
            assert 2 <= len(words) == len(sentence) - 1 <= 4
            assert all(MARKS + phase * WORDS <= word < MARKS + (phase + 1) * WORDS for word in words)
    assert len(things) > THINGS // 2
    assert drawn_episodes(3, seed=1) == drawn_episodes(3, seed=1) != drawn_episodes(3, seed=2)
