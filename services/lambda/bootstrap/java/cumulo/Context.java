package cumulo;

import java.lang.reflect.InvocationHandler;
import java.lang.reflect.Proxy;
import java.util.HashMap;
import java.util.Map;

/** What a handler learns about its invocation, shown through the interfaces of the function's own aws-lambda-java-core. */
final class Context {
    private final Map<?, ?> header;
    private final Log log;
    private final long ends;

    Context(Map<?, ?> header, Log log) {
        this.header = header;
        this.log = log;
        ends = System.nanoTime() + ((Number) header.get("millis")).longValue() * 1_000_000;
    }

    Object as(Class<?> type) {
        return proxy(type, (proxy, method, arguments) -> {
            switch (method.getName()) {
                case "getAwsRequestId":
                    return header.get("id");
                case "getInvokedFunctionArn":
                    return header.get("arn");
                case "getFunctionName":
                    return System.getenv("AWS_LAMBDA_FUNCTION_NAME");
                case "getFunctionVersion":
                    return System.getenv("AWS_LAMBDA_FUNCTION_VERSION");
                case "getLogGroupName":
                    return System.getenv("AWS_LAMBDA_LOG_GROUP_NAME");
                case "getLogStreamName":
                    return System.getenv("AWS_LAMBDA_LOG_STREAM_NAME");
                case "getMemoryLimitInMB":
                    return Integer.valueOf(System.getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"));
                case "getRemainingTimeInMillis":
                    return (int) Math.max(0, (ends - System.nanoTime()) / 1_000_000);
                case "getLogger":
                    return log.as(method.getReturnType());
                case "getIdentity":
                    // There is one on AWS as well when nobody signed in; what it holds is null.
                    return fields(method.getReturnType(), new HashMap<>());
                case "getClientContext":
                    Object client = header.get("client_context");
                    return client instanceof Map ? fields(method.getReturnType(), (Map<?, ?>) client) : null;
                default:
                    return null;
            }
        });
    }

    /** An interface whose getters show the members of a JSON object. */
    private static Object fields(Class<?> type, Map<?, ?> values) {
        return proxy(type, (proxy, method, arguments) -> {
            String name = method.getName().startsWith("get") ? method.getName().substring(3) : method.getName();
            Object value = null;
            for (Map.Entry<?, ?> entry : values.entrySet()) {
                String key = String.valueOf(entry.getKey()).replace("_", "");
                if (key.equalsIgnoreCase(name) || name.equals("Environment") && key.equals("env")) value = entry.getValue();
            }
            if (method.getReturnType().isInterface() && method.getReturnType() != Map.class) {
                return value instanceof Map ? fields(method.getReturnType(), (Map<?, ?>) value) : null;
            }
            return Binder.bind(value, method.getGenericReturnType());
        });
    }

    /** A proxy that also answers what every object is asked. */
    static Object proxy(Class<?> type, InvocationHandler handler) {
        return Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, (proxy, method, arguments) -> {
            if (method.getDeclaringClass() != Object.class) return handler.invoke(proxy, method, arguments);
            switch (method.getName()) {
                case "equals":
                    return proxy == arguments[0];
                case "hashCode":
                    return System.identityHashCode(proxy);
                default:
                    return type.getSimpleName() + "@" + Integer.toHexString(System.identityHashCode(proxy));
            }
        });
    }
}
