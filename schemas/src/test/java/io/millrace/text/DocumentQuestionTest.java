package io.millrace.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.millrace.text.DocumentQuestion.Condition;
import io.millrace.text.DocumentQuestion.Order;
import io.millrace.text.DocumentQuestion.QuestionException;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class DocumentQuestionTest {
    @Test
    void shouldReadAQuestionWithEveryPart() {
        DocumentQuestion question = DocumentQuestion.parse(
                "select path, Title from documents where language = 'nix' AND size >= 1000 and title like 'it''s%' "
                        + "order by modified_at desc limit 7;");

        assertThat(question)
                .isEqualTo(new DocumentQuestion(
                        List.of("path", "title"),
                        List.of(
                                new Condition("language", "=", "nix"),
                                new Condition("size", ">=", "1000"),
                                new Condition("title", "like", "it's%")),
                        Optional.of(new Order("modified_at", true)),
                        7));
    }

    @Test
    void shouldTakeADateForItsFirstMomentInUtc() {
        assertThat(new Condition("modified_at", ">", "2026-01-31").time()).isEqualTo("2026-01-31T00:00:00Z");
        assertThat(new Condition("modified_at", ">", "2026-01-31T12:30Z").time())
                .isEqualTo("2026-01-31T12:30:00Z");
    }

    @Test
    void shouldReadACount() {
        assertThat(DocumentQuestion.parse("SELECT count(*) FROM documents WHERE tags <> 'old'"))
                .isEqualTo(new DocumentQuestion(
                        List.of(), List.of(new Condition("tags", "!=", "old")), Optional.empty(), 0));
    }

    @ParameterizedTest
    @CsvSource(
            delimiter = '|',
            value = {
                "select password from documents                         | there is no field password; there are category",
                "select * from interactions                             | documents is missing before interactions",
                "select * from documents where size = 'big'             | size is a number",
                "select * from documents where size like 5              | size is compared by",
                "select * from documents where title = nix              | a value is missing before nix",
                "select * from documents where modified_at > 'monday'   | modified_at is a time",
                "select * from documents where updated_at > '2026-02-31' | there is no time 2026-02-31",
                "select * from documents where updated_at > '2026-13-01T00:00Z' | there is no time 2026-13-01T00:00Z",
                "select * from documents where path like 'C:\\'           | a \\ at the end is written \\\\",
                "select * from documents limit 1000                     | limit must be 1 to 100",
                "select * from documents; drop table documents          | nothing may follow; there is drop",
                "select * from documents where title = 'a' or 1 = 1     | nothing may follow; there is or",
                "select * from documents where title = 'open            | what is meant by",
                "select path from documents union select note from feedback | nothing may follow; there is union",
                "select * from documents -- all                         | what is meant by -- all",
                "delete from documents                                  | select is missing before delete",
                "select count(path) from documents                      | * is missing before path"
            })
    void shouldSayWhatIsWrong(String text, String message) {
        assertThatThrownBy(() -> DocumentQuestion.parse(text))
                .isInstanceOf(QuestionException.class)
                .hasMessageContaining(message);
    }

    @ParameterizedTest
    @ValueSource(strings = {"Select * from documents", " select path\nfrom documents where title = 'x';"})
    void shouldKnowOneThatItCanRead(String text) {
        assertThat(DocumentQuestion.tryParse(text)).contains(DocumentQuestion.parse(text));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "selected works",
                "How do I select a version?",
                "from select",
                "Select three tips from the handbook and explain them.",
                "SELECT u.id FROM users u JOIN orders o ON o.user_id = u.id; why is this slow?",
                "select path from documents where x = 1"
            })
    void shouldNotTakeAnotherQuestionForOne(String text) {
        assertThat(DocumentQuestion.tryParse(text)).isEmpty();
    }
}
