"""What long work told, kept for a test to look at."""


class Told:
    """Stands where a `mersa.progress.Progress` does.

    Attributes:
        sentences: What was said.
        tasks: Names of what was counted.
        counts: Name, number done and number of all of each count.
    """

    def __init__(self):
        self.sentences, self.tasks, self.counts = [], [], []

    def say(self, sentence):
        self.sentences.append(sentence)

    def task(self, name):
        self.tasks.append(name)
        return lambda done, total: self.counts.append((name, done, total))
