package io.millrace.knowledge.meaning;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.util.Collection;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;

/** How rare words are among questions: ln((n + 1) / (df + 1)) of a stem, in nats. */
final class WordWeights {
    private final int questions;
    private final Map<String, Integer> frequency;

    private WordWeights(int questions, Map<String, Integer> frequency) {
        this.questions = questions;
        this.frequency = frequency;
    }

    static WordWeights count(Collection<Question> all) {
        Map<String, Integer> frequency = new HashMap<>();
        for (Question question : all) {
            question.stemSet.forEach(stem -> frequency.merge(stem, 1, Integer::sum));
        }
        // a word of one question says nothing about any other
        frequency.values().removeIf(count -> count < 2);
        return new WordWeights(all.size(), frequency);
    }

    double weight(String stem) {
        return Math.log((questions + 1.0) / (frequency.getOrDefault(stem, 0) + 1.0));
    }

    void write(DataOutputStream out) throws IOException {
        out.writeInt(questions);
        out.writeInt(frequency.size());
        for (Map.Entry<String, Integer> entry : new TreeMap<>(frequency).entrySet()) {
            out.writeUTF(entry.getKey());
            out.writeInt(entry.getValue());
        }
    }

    static WordWeights read(DataInputStream in) throws IOException {
        int questions = in.readInt();
        int size = in.readInt();
        Map<String, Integer> frequency = HashMap.newHashMap(size);
        for (int i = 0; i < size; i++) {
            String stem = in.readUTF();
            frequency.put(stem, in.readInt());
        }
        return new WordWeights(questions, frequency);
    }
}
