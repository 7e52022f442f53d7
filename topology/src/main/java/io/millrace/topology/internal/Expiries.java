package io.millrace.topology.internal;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** When which key is due. In memory, one per task, rebuilt from the store: a tick must not scan the store. */
public final class Expiries {
    private final TreeMap<Long, List<String>> due = new TreeMap<>();
    private final Map<String, Long> latest = new HashMap<>();

    /** Sets when a key is due, milliseconds; an earlier setting is forgotten. */
    public void set(String key, long at) {
        Long before = latest.put(key, at);
        if (before == null || before != at) {
            due.computeIfAbsent(at, time -> new ArrayList<>(1)).add(key);
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

    /** Takes out the keys that are due at {@code now}. */
    public List<String> take(long now) {
        List<String> taken = new ArrayList<>();
        while (!due.isEmpty() && due.firstKey() <= now) {
            var entry = due.pollFirstEntry();
            for (String key : entry.getValue()) {
                if (latest.remove(key, entry.getKey())) {
                    taken.add(key);
                }
            }
        }
        return taken;
    }
}
