package io.millrace.standalone;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.id.Ids;
import io.millrace.knowledge.Chunker;
import io.millrace.log.Log;
import io.millrace.log.LogTail;
import io.millrace.log.Topics;
import io.millrace.schema.Passage;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The running system after an update that cuts documents in another way. */
class ChunkerIT {
    private static final List<String> TEXTS =
            List.of("A canal lock lifts barges between two levels of water.", "The mill grinds wheat with two stones.");

    private static final String GONE = "The weir keeps the pond at one height.";

    private static final List<String> ALL = List.of(TEXTS.get(0), TEXTS.get(1), GONE);

    @TempDir
    Path folder;

    @Test
    void shouldCutDocumentsAnewAtEachStartThatFindsThemCutByAnother() throws Exception {
        Path data = folder.resolve("data");
        try (Live live = Live.start(data, "")) {
            live.add("it", "0.md", "An earlier version, of the quax.");
            for (int i = 0; i < TEXTS.size(); i++) {
                live.add("it", i + ".md", TEXTS.get(i));
            }
            // a version may have found nothing in one that this one cuts
            live.add("it", "gone.md", GONE);
            Log log = live.standalone().services().log();
            for (Passage passage : passages(live).values()) {
                if (passage.getText().equals(GONE)) {
                    log.producer()
                            .tombstone(Topics.PASSAGES, passage.getPassageId())
                            .get();
                }
            }
            cutOtherwise(live, TEXTS);
        }
        for (boolean again : List.of(true, false)) {
            try (Live live = Live.start(data, "")) {
                Awaitility.await("nothing is as the other version had it")
                        .atMost(Duration.ofSeconds(60))
                        .until(() -> passages(live).values().stream()
                                .allMatch(passage -> passage.getChunker().equals(Chunker.VERSION)));
                Map<String, Passage> now = passages(live);
                assertThat(now.values()).extracting(Passage::getText).containsExactlyInAnyOrderElementsOf(ALL);
                assertThat(now)
                        .allSatisfy((id, passage) ->
                                assertThat(id).isEqualTo(Ids.content(passage.getDocumentId(), "0", Chunker.VERSION)));
                Awaitility.await("searches find them")
                        .atMost(Duration.ofSeconds(30))
                        .untilAsserted(() -> {
                            assertThat(live.found("canal lock"))
                                    .startsWith("0.md")
                                    .doesNotHaveDuplicates();
                            assertThat(live.found("grinds wheat"))
                                    .startsWith("1.md")
                                    .doesNotHaveDuplicates();
                        });
                assertThat(live.get("/health/detailed").body()).doesNotContain("cut anew");
                if (again) {
                    cutOtherwise(live, ALL);
                }
            }
        }
    }

    /** As a version before or after this one left them. */
    private static void cutOtherwise(Live live, List<String> texts) throws Exception {
        Log log = live.standalone().services().log();
        for (Passage passage : new ArrayList<>(passages(live).values())) {
            String id = Ids.content(passage.getDocumentId(), "0", "other");
            log.producer()
                    .send(
                            Topics.PASSAGES,
                            id,
                            Passage.newBuilder(passage)
                                    .setPassageId(id)
                                    .setChunker("other")
                                    .setText("Otherwise: " + passage.getText())
                                    .build())
                    .get();
            log.producer().tombstone(Topics.PASSAGES, passage.getPassageId()).get();
        }
        assertThat(passages(live))
                .hasSameSizeAs(texts)
                .allSatisfy((id, passage) -> assertThat(passage.getText()).startsWith("Otherwise: "));
    }

    /** What is on the log, by id. */
    private static Map<String, Passage> passages(Live live) throws Exception {
        Map<String, Passage> found = new ConcurrentHashMap<>();
        try (LogTail<Passage> tail = new LogTail<>(
                "test",
                Topics.PASSAGES,
                LogTail.From.BEGINNING,
                live.standalone().services().log(),
                record -> {
                    if (record.value() == null) {
                        found.remove(record.key());
                    } else {
                        found.put(record.key(), record.value());
                    }
                })) {
            tail.start().caughtUp().get();
        }
        return new TreeMap<>(found);
    }
}
