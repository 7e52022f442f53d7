package io.millrace.topology.internal;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;

/** When which key is due. In memory, one per task, rebuilt from the store: a tick must not scan the store. */
public final class Expiries {
    private final TreeMap<Long, Deque<String>> due = new TreeMap<>();
    private final Map<String, Long> latest = new HashMap<>();

    /** Sets when a key is due, milliseconds; an earlier setting is forgotten. */
    public void set(String key, long at) {
        Long before = latest.put(key, at);
        if (before == null || before != at) {
            due.computeIfAbsent(at, time -> new ArrayDeque<>(1)).add(key);
        }
    }

    /** The next whole second, for what need not be exact: keys that are due together share an entry. */
    public static long roughly(long at) {
        return Math.ceilDiv(at, 1_000L) * 1_000L;
    }

    /** Forgets a key. */
    public void remove(String key) {
        latest.remove(key);
    }

    /** Hands out the keys that are due at {@code now}, each as it is taken out: when one cannot be handled, the rest are still due. */
    public void take(long now, Consumer<String> handler) {
        while (!due.isEmpty() && due.firstKey() <= now) {
            var first = due.firstEntry();
            String key = first.getValue().poll();
            if (key == null) {
                due.remove(first.getKey());
            } else if (latest.remove(key, first.getKey())) {
                handler.accept(key);
            }
        }
    }
}
