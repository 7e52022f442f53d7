package io.millrace.learners.evaluation;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.millrace.learners.evaluation.BeirDataset.DataException;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import java.util.zip.GZIPOutputStream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class BeirDatasetTest {
    @TempDir
    Path folder;

    @BeforeEach
    void good() throws IOException {
        write("corpus.jsonl", "{\"_id\":\"1\",\"title\":\"t\",\"text\":\"one\"}\n\n{\"_id\":2,\"text\":\"two\"}\n");
        write("queries.jsonl", "{\"_id\":\"q\",\"text\":\"what\"}\n{\"_id\":\"r\",\"text\":\"unjudged\"}\n");
        write("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\t2\t3\nq\t1\t0\n");
    }

    @Test
    void shouldReadDocumentsQueriesAndGrades() {
        BeirDataset data = BeirDataset.read(folder, "test");

        assertThat(data.documents())
                .containsExactly(new BeirDataset.Document("1", "t", "one"), new BeirDataset.Document("2", "", "two"));
        // what nobody judged cannot be measured
        assertThat(data.queries()).containsOnlyKeys("q");
        assertThat(data.judgements().get("q")).containsEntry("2", 3.0).containsEntry("1", 0.0);
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "q\t2\t3%nq\t1\t0                                           | no line of names",
                "query_id\tdoc_id\trelevance%nq\t2\t3%nq\t1\t0            | other names",
                "q 0 2 3%nq 0 1 0                                           | TREC's columns",
                "query-id\tcorpus-id\tscore%r%nq\t2\t3%r%nq\t1\t0%r%n   | lines of Windows",
                "\uFEFFquery-id\tcorpus-id\tscore%nq\t2\t3.0%nq\t1\t-1  | a byte order mark, other numbers",
                "q\t2\t3%nq\t1\t0%nq\tgone\t0                             | one that is not there and not relevant",
                "q\t2\t3%nq\t2\t3%nq\t1\t0                               | a line twice",
            })
    void shouldReadJudgementsAsTheyAreFound(String content, String what) throws IOException {
        write("qrels/test.tsv", content.replace("%r%n", "\r\n").formatted());

        BeirDataset data = BeirDataset.read(folder, "test");

        assertThat(data.queries()).as(what).containsOnlyKeys("q");
        assertThat(data.judgements().get("q")).as(what).containsEntry("2", 3.0);
    }

    @Test
    void shouldReadDocumentsWithoutATitleOrAText() throws IOException {
        write("corpus.jsonl", """
                {"_id":1,"title":null,"text":"one","metadata":{}}
                {"_id":2,"title":"two","text":""}
                {"_id":3,"title":"three"}
                """);

        assertThat(BeirDataset.read(folder, "test").documents())
                .containsExactly(
                        new BeirDataset.Document("1", "", "one"),
                        new BeirDataset.Document("2", "two", ""),
                        new BeirDataset.Document("3", "three", ""));
    }

    @Test
    void shouldCountRelevantDocumentsThatTheCorpusLacks() throws IOException {
        write("qrels/test.tsv", "q\t2\t1\nq\tgone\t1\n");

        BeirDataset data = BeirDataset.read(folder, "test");

        assertThat(data.absent()).isEqualTo(1);
        // as trec_eval has it: half of what is relevant can be found
        assertThat(RankingMetrics.of(
                                List.of("2"),
                                Objects.requireNonNull(data.judgements().get("q")))
                        .recall100())
                .isEqualTo(0.5);
    }

    @Test
    void shouldReadWhatIsCompressed() throws IOException {
        for (String file : List.of("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")) {
            Path plain = folder.resolve(file);
            try (OutputStream out = new GZIPOutputStream(Files.newOutputStream(folder.resolve(file + ".gz")))) {
                Files.copy(plain, out);
            }
            Files.delete(plain);
        }

        BeirDataset data = BeirDataset.read(folder, "test");

        assertThat(data.documents()).hasSize(2);
        assertThat(data.queries()).containsOnlyKeys("q");
        Files.writeString(folder.resolve("corpus.jsonl.gz"), "not compressed at all");
        assertThatThrownBy(() -> BeirDataset.read(folder, "test"))
                .isInstanceOf(DataException.class)
                .hasMessageContaining("corpus.jsonl.gz: cannot be read");
    }

    @Test
    void shouldLeaveOutTheQueryItselfAndNoOtherDocument() throws IOException {
        write("corpus.jsonl", "{\"_id\":\"a\",\"text\":\"one\"}\n{\"_id\":\"b\",\"text\":\"two\"}\n");
        write("queries.jsonl", "{\"_id\":\"a\",\"text\":\"one\"}\n{\"_id\":\"b\",\"text\":\"of its own\"}\n");
        write("qrels/test.tsv", "a\tb\t1\nb\tb\t1\n");

        BeirDataset data = BeirDataset.read(folder, "test");

        assertThat(data.withoutItself("a", List.of("a", "b"))).containsExactly("b");
        // judged, so it is a document that happens to have the query's number
        assertThat(data.withoutItself("b", List.of("a", "b"))).containsExactly("a", "b");
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "corpus.jsonl   | {\"_id\":\"1\",\"text\":\"a\"}%n{oops      | corpus.jsonl:2: is not JSON",
                "corpus.jsonl   | [1]                                        | corpus.jsonl:1: is not a JSON object",
                "corpus.jsonl   | {\"text\":\"a\"}                           | corpus.jsonl:1: has no _id",
                "corpus.jsonl   | {\"_id\":\"1\"}                            | corpus.jsonl:1: text is missing",
                "corpus.jsonl   | {\"_id\":1,\"text\":\"\"}%n{\"_id\":\"1\",\"text\":\"b\"} | corpus.jsonl:2: _id 1 was there before with another text",
                "queries.jsonl  | {\"_id\":\"q\",\"text\":5}                 | queries.jsonl:1: text is missing or not a string",
                "qrels/test.tsv | q\t1                                       | test.tsv:1: has 2 columns",
                "qrels/test.tsv | q\t9\t1                                    | test.tsv: no relevant document, such as 9, is in corpus.jsonl",
                "qrels/test.tsv | z\t1\t1                                    | test.tsv:1: query-id z is not in queries.jsonl",
                "qrels/test.tsv | q\t1\thigh                                 | test.tsv:1: score high is not a number",
                "qrels/test.tsv | q\t1\t1%nq\t1\t2                           | test.tsv:2: query-id q and corpus-id 1 had another score before",
                "corpus.jsonl   | {\"_id\":\"1\",\"text\":\"\",\"title\":[]}     | corpus.jsonl:1: title is missing or not a string",
                "qrels/test.tsv | q\t1\t0                                    | test.tsv: judges no document as relevant"
            })
    void shouldNameFileAndLineWhenSomethingIsWrong(String file, String content, String message) throws IOException {
        write(file, content.formatted());

        assertThatThrownBy(() -> BeirDataset.read(folder, "test"))
                .isInstanceOf(DataException.class)
                .hasMessageContaining(message);
    }

    @Test
    void shouldNameTheFileThatIsMissing() {
        assertThatThrownBy(() -> BeirDataset.read(folder, "dev"))
                .hasMessageEndingWith("dev.tsv: is not there; there are test");
    }

    private void write(String file, String content) throws IOException {
        Path path = folder.resolve(file);
        Files.createDirectories(path.getParent());
        Files.writeString(path, content);
    }
}
