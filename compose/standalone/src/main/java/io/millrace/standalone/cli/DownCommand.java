package io.millrace.standalone.cli;

import com.fasterxml.jackson.databind.JsonNode;
import io.millrace.standalone.error.UserException;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** {@code millrace down}. */
@Command(name = "down", description = "Stop what runs on the data folder.", mixinStandardHelpOptions = true)
public final class DownCommand implements Callable<Integer> {
    @Mixin
    private DataOption data = new DataOption();

    @Override
    public Integer call() throws InterruptedException, ExecutionException {
        Optional<JsonNode> run = Instance.run(data.folder());
        if (run.isEmpty()) {
            throw new UserException("no millrace is running on " + data.folder());
        }
        long pid = run.get().path("pid").asLong();
        ProcessHandle process =
                ProcessHandle.of(pid).orElseThrow(() -> new UserException("process " + pid + " is gone"));
        process.destroy();
        try {
            process.onExit().get(15, TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            throw new UserException("process " + pid + " did not stop within 15 s");
        }
        Terminal.line("millrace stopped");
        return 0;
    }
}
