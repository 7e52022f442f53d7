package io.millrace.routers.retrieval;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class FollowUpTest {
    private static final Optional<String> BEFORE = Optional.of("How do I roll back NixOS?");

    @ParameterizedTest
    @ValueSource(
            strings = {
                "Where does it keep the old generations?",
                "and how do I delete the oldest of all generations",
                "What about the boot menu of my laptop?",
                "why?",
                "delete old generations",
                "Can those be kept for a month or longer?"
            })
    void shouldSearchForBothWhenTheQuestionLeansOnTheOneBefore(String question) {
        assertThat(FollowUp.searched(question, BEFORE)).isEqualTo(BEFORE.get() + "\n" + question);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "How do I configure the nginx module with TLS?",
                "Which options does the openssh service take?",
                "Show a flake with two inputs and an overlay",
                "SELECT path FROM documents WHERE title = 'this'"
            })
    void shouldSearchForTheQuestionAloneWhenItStandsByItself(String question) {
        assertThat(FollowUp.searched(question, BEFORE)).isEqualTo(question);
    }

    @Test
    void shouldSearchForTheQuestionAloneWhenNothingWasAskedBefore() {
        assertThat(FollowUp.searched("and then?", Optional.empty())).isEqualTo("and then?");
        assertThat(FollowUp.searched("why?", Optional.of("why?"))).isEqualTo("why?");
    }
}
