package io.millrace.standalone.parts;

import io.millrace.standalone.error.UserException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;

/**
 * Work in which a signal to stop must wait. Such a signal interrupts the thread that starts things, and a file that an interrupted
 * thread reads or writes is closed under it: Kafka then takes its disk for broken and ends the process, and an index is taken for
 * damaged and made anew. A process that is just being started would be left to itself.
 */
public final class Undisturbed {
    private Undisturbed() {}

    /** What is to be done. */
    public interface Work<T, E extends Exception> {
        T get() throws E;
    }

    /**
     * Does it on a thread that nobody interrupts. The caller is as interrupted afterwards as it was made meanwhile.
     *
     * @throws UserException when the caller is interrupted before it begins: then nothing is done
     */
    @SuppressWarnings("unchecked")
    public static <T, E extends Exception> T get(Work<T, E> work) throws E {
        check();
        CompletableFuture<T> result = new CompletableFuture<>();
        Thread.ofPlatform()
                .name(Thread.currentThread().getName() + "-undisturbed")
                .start(() -> {
                    try {
                        result.complete(work.get());
                    } catch (Throwable e) {
                        result.completeExceptionally(e);
                    }
                });
        try {
            return result.join();
        } catch (CompletionException e) {
            switch (e.getCause()) {
                case Error error -> throw error;
                case RuntimeException unchecked -> throw unchecked;
                // what else the work throws it declares
                case Throwable declared -> throw (E) declared;
                case null -> throw e;
            }
        }
    }

    /** As {@link #get}, of work that yields nothing. */
    public static void run(Runnable work) {
        Undisturbed.<Boolean, RuntimeException>get(() -> {
            work.run();
            return true;
        });
    }

    /** @throws UserException when this thread has been interrupted; it stays so */
    static void check() {
        if (Thread.currentThread().isInterrupted()) {
            throw new UserException("stopped while it started");
        }
    }
}
