package io.millrace.routers.backend;

import static org.assertj.core.api.Assertions.assertThat;

import io.millrace.routers.testing.Samples;
import io.millrace.schema.Answer;
import io.millrace.schema.Dispatch;
import io.millrace.schema.Query;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class AnswerQualityTest {
    private static final String CONTEXT = "[1] mill.md\nThe waterwheel turns the millstone below the granary.";
    private static final String SCHEMA = "{\"response_format\":{\"type\":\"json_schema\",\"json_schema\":"
            + "{\"schema\":{\"type\":\"object\",\"required\":[\"name\",\"age\"]}}}}";

    private static AnswerQuality.Verdict judge(Query.Builder query, String context, Answer.Builder answer) {
        Dispatch dispatch = Samples.dispatch(query.build()).setContext(context).build();
        return AnswerQuality.judge(dispatch, answer.build());
    }

    private static AnswerQuality.Verdict judge(String text) {
        return judge(Samples.query(), "", Answer.newBuilder().setText(text));
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "The mill stands by the river, behind the church.",
                "Sorting works by comparing neighbours; see the third chapter.",
                "I know of three mills by that river, and you mean the second."
            })
    void shouldFindNothingWrongWithAPlainAnswer(String text) {
        AnswerQuality.Verdict verdict = judge(text);

        assertThat(verdict.reasons()).isEmpty();
        assertThat(verdict.score()).isEqualTo(1);
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "I'm sorry, but I can't help with that one.",
                "I am very sorry, this is beyond me here.",
                "I don’t know where the mill is, honestly.",
                "As an AI, I have no access to maps of mills.",
                "Unfortunately, nothing is known about the mill.",
                "The provided context does not say where the mill is.",
                "I'm not sure what you mean by that mill.",
                "There is no information about a mill in there."
            })
    void shouldSeeARefusalInTheFirstWords(String text) {
        AnswerQuality.Verdict verdict = judge(text);

        assertThat(verdict.reasons()).containsExactly("refusal");
        assertThat(verdict.score()).isEqualTo(0.5);
    }

    @Test
    void shouldGiveNothingForAnEmptyAnswer() {
        assertThat(judge(" \n ")).isEqualTo(new AnswerQuality.Verdict(0, java.util.List.of("empty")));
    }

    @Test
    void shouldDeductForAnAnswerThatWasCutOff() {
        AnswerQuality.Verdict verdict = judge(
                Samples.query(),
                "",
                Answer.newBuilder().setText("The mill stands by the").setFinishReason("length"));

        assertThat(verdict.reasons()).containsExactly("truncated");
        assertThat(verdict.score()).isCloseTo(0.7, Offset.offset(1e-9));
    }

    @ParameterizedTest
    @CsvSource({
        "The waterwheel turns the millstone as the passage says., true",
        "Quantum computers factor integers exponentially faster., false",
    })
    void shouldHoldAnAnswerAgainstItsContext(String text, boolean grounded) {
        AnswerQuality.Verdict verdict =
                judge(Samples.query(), CONTEXT, Answer.newBuilder().setText(text));

        assertThat(verdict.reasons().contains("ungrounded")).isEqualTo(!grounded);
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            {"name":"Ada","age":36} | 1.0 |
            {"name":"Ada"}          | 0.5 | schema_violated
            Ada is 36 years old     | 0.0 | invalid_json
            "Ada"                   | 0.0 | invalid_json
            """)
    void shouldHoldStructuredAnswersAgainstTheirSchema(String text, double score, String reason) {
        AnswerQuality.Verdict verdict = judge(
                Samples.query().setStructured(true).setBody(SCHEMA),
                "",
                Answer.newBuilder().setText(text));

        assertThat(verdict.score()).isEqualTo(score);
        assertThat(String.join(",", verdict.reasons())).isEqualTo(reason == null ? "" : reason);
    }

    @Test
    void shouldTakeAToolCallForAnAnswerAndARefusalForNone() {
        Answer.Builder call = Answer.newBuilder()
                .setFinishReason("tool_calls")
                .setMessage("{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"1\"}]}");
        Answer.Builder refusal =
                Answer.newBuilder().setMessage("{\"role\":\"assistant\",\"refusal\":\"I will not do that\"}");

        assertThat(judge(Samples.query(), CONTEXT, call).score()).isEqualTo(1);
        assertThat(judge(Samples.query(), "", refusal).reasons()).contains("refusal");
    }
}
