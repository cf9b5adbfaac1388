require 'rails'
require 'action_controller/railtie'

class Site < Rails::Application
  config.load_defaults 6.1
  config.secret_key_base = 'for a test'
end
