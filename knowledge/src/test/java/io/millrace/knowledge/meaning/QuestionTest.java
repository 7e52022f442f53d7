package io.millrace.knowledge.meaning;

import static org.assertj.core.api.Assertions.assertThat;

import java.time.Duration;
import java.util.concurrent.FutureTask;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class QuestionTest {
    /** Stack for each word of a question would end the worker that reads it; half of what stream threads have is a fair share. */
    @ParameterizedTest
    @ValueSource(strings = {".b", "-b", ",1", "/b", "_b", "a", "A", "+", "é😀"})
    void shouldReadAQuestionOfAnyLength(String repeated) throws InterruptedException {
        FutureTask<Question> read =
                new FutureTask<>(() -> Question.of("a1" + repeated.repeat(100_000), new float[] {1}));
        Thread thread = new Thread(null, read, "small stack", 256 * 1024);
        thread.start();
        thread.join();

        assertThat(read).succeedsWithin(Duration.ZERO).isNotNull();
    }
}
